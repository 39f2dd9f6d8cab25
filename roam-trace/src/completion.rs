//! What a shell completes that only the system knows.

use clap_complete::CompletionCandidate;

use crate::process::{Target, proc};

/// Lists the pids of the processes that have a registry and can be read, with their names.
pub(crate) fn pids() -> Vec<CompletionCandidate> {
    let target = |pid| {
        let target = Target::find(pid).ok()?;
        let name = target.process.name().to_owned();
        (target.has_registry().ok()?)
            .then(|| CompletionCandidate::new(pid.to_string()).help(Some(name.into())))
    };
    let pids = proc::pids().unwrap_or_default();
    pids.into_iter().filter_map(target).collect()
}
