//! What the live views have in common: whose probes they attach, and what they say of processes that end.

use std::collections::HashSet;

use anyhow::Result;
use roam_dump::model::Process;
use roam_dump::read::Budget;
use roam_trace_common::event::TargetEnd;

use super::errors::Errors;
use super::report::report;
use super::select::{Selected, select};
use crate::attach::{LiveOptions, Options, Tracer};
use crate::cli::TargetArgs;
use crate::error::{Exit, TargetError};
use crate::process::{Share, Target};
use crate::watch::{WatchError, attach, seed};

/// Finds the processes that were asked for.
///
/// # Errors
///
/// `/proc` cannot be listed.
pub(super) fn select_live(args: &TargetArgs, errors: &mut Errors) -> Result<Selected> {
    select(args, &HashSet::new(), errors)
}

/// Divides the budget among the processes.
pub(super) fn divide(selected: &Selected) -> Vec<Share<'_>> {
    Share::divide(Budget::default(), &selected.targets)
}

/// Returns those of the processes that have probes, and reports why the others have none.
pub(super) fn probed<'a>(
    shares: &'a [Share<'a>],
    selected: &Selected,
    errors: &mut Errors,
) -> Vec<&'a Share<'a>> {
    let mut probed = Vec::new();
    for share in shares {
        match check_probes(share.target) {
            Ok(()) => probed.push(share),
            Err(error @ TargetError::Ended { .. }) if selected.is_found(share.target) => {
                log::debug!("{error}");
            }
            Err(error) => errors.report(&error),
        }
    }
    probed
}

/// Fails if a process has no probes.
fn check_probes(target: &Target) -> Result<(), TargetError> {
    let refused = target.refused_probes()?;
    if !target.probed()?.is_empty() {
        for refused in refused {
            report(&format_args!(
                "{}: probes not attached: {refused}",
                target.label()
            ));
        }
        return Ok(());
    }
    let Process { pid, name, .. } = target.label();
    match refused.first() {
        Some(refused) => Err(TargetError::RefusedProbes {
            pid,
            name,
            refused: refused.clone(),
        }),
        None if target.has_registry()? => Err(TargetError::NoProbes { pid, name }),
        None => Err(target.why_no_target()?),
    }
}

/// Attaches the probes of processes, drops the privileges that it takes, and seeds the maps with what began before.
/// From its return on, every event is reported. `None` if that failed, which is reported then.
pub(super) fn begin(
    shares: &[&Share<'_>],
    live: LiveOptions,
    verbose: bool,
    errors: &mut Errors,
) -> Option<Tracer> {
    let options = Options {
        verbose,
        live: Some(live),
        ..Options::default()
    };
    let begun = attach(shares, options).and_then(|mut tracer| {
        seed(&mut tracer, shares)?;
        Ok(tracer)
    });
    match begun {
        Ok(tracer) => Some(tracer),
        Err(error) => {
            report_failure(error, errors);
            None
        }
    }
}

/// Reports why probes cannot be attached or read.
pub(super) fn report_failure(error: WatchError, errors: &mut Errors) {
    let exit: Exit = error.exit();
    let text = format!("{:#}", anyhow::Error::new(error));
    errors.report_as(exit, &text);
}

/// Reports that a process can report nothing any more.
pub(super) fn report_end(process: &Process, end: TargetEnd) {
    match end {
        TargetEnd::Exit => report(&format_args!("{process} exited")),
        TargetEnd::Exec => report(&format_args!("{process} executed another program")),
    }
}
