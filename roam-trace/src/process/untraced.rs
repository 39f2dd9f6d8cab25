//! What is known of a process at the other end of a socket that is no target.

use std::collections::BTreeMap;

use roam_dump::analysis::ProcessFacts;
use roam_dump::decode::printable;
use roam_dump::model::{self, ProcessState};

use super::proc::Process;
use super::target::Target;
use crate::error::TargetError;

/// Collects what is known of a process that is no target, and why it is none.
pub fn facts(pid: u32) -> ProcessFacts {
    let target = match Target::find(pid) {
        Ok(target) => target,
        Err(error) => return facts_of(pid, ProcessState::Alive, error.to_string()),
    };
    let reason = match target.has_registry() {
        Ok(true) => "name it with -p".to_owned(),
        Ok(false) => why_untraced(&target),
        Err(error) => error.to_string(),
    };
    facts_of(pid, target.process.state(), reason)
}

/// Collects what is left of a process that is dead.
pub(super) fn facts_of_dead(pid: u32) -> ProcessFacts {
    facts_of(pid, ProcessState::Dead, String::new())
}

/// Returns whether a process is gone, or a zombie.
pub(super) fn is_dead(pid: u32) -> bool {
    matches!(
        Process::open(pid),
        Err(TargetError::NoSuchProcess { .. }
            | TargetError::Zombie { .. }
            | TargetError::Ended { .. })
    )
}

fn why_untraced(target: &Target) -> String {
    let has_probes = target.probed().is_ok_and(|probed| !probed.is_empty());
    let text = match (has_probes, target.why_no_target()) {
        (true, _) => "it has no registry of its own",
        (false, Ok(TargetError::Published { .. })) => {
            "it is built with the published roam-session, which reports nothing"
        }
        (false, _) => "it has no registry",
    };
    text.to_owned()
}

fn facts_of(pid: u32, state: ProcessState, untraced: String) -> ProcessFacts {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    ProcessFacts {
        process: model::Process::new(pid, printable(name.trim_ascii_end())),
        state,
        threads: BTreeMap::new(),
        is_connectivity_known: false,
        descriptors: None,
        untraced: Some(untraced),
    }
}
