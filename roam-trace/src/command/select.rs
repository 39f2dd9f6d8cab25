//! Which processes a command reads.

use std::collections::HashSet;

use anyhow::{Context, Result};

use super::errors::Errors;
use super::report::report;
use crate::cli::TargetArgs;
use crate::error::TargetError;
use crate::process::Target;
use crate::process::proc::{self, Process};
use crate::process::turns::in_turns;

/// The processes to read.
pub(super) struct Selected {
    /// Each once.
    pub(super) targets: Vec<Target>,
    /// The pids of those among them that were found by `--all` or `--children`.
    found: Vec<u32>,
}

impl Selected {
    /// Whether the user named none but its relatives, or nobody: then it is no error that it has ended.
    pub(super) fn is_found(&self, target: &Target) -> bool {
        target.is_followed || self.found.contains(&target.pid())
    }

    /// Adds processes that nobody asked for.
    pub(super) fn add(&mut self, targets: Vec<Target>) {
        self.targets.extend(targets);
        self.finish();
    }

    /// Adds a process that `--all` found.
    pub(super) fn add_found(&mut self, target: Target) {
        self.found.push(target.pid());
        self.targets.push(target);
        self.finish();
    }

    /// Removes processes.
    pub(super) fn remove(&mut self, pids: &HashSet<u32>) {
        self.targets.retain(|target| !pids.contains(&target.pid()));
        self.found.retain(|pid| !pids.contains(pid));
        self.finish();
    }

    pub(super) fn contains(&self, pid: u32) -> bool {
        self.targets.iter().any(|known| known.pid() == pid)
    }
}

/// Finds the processes that were asked for. `armed` are processes that can be read without a registry.
///
/// # Errors
///
/// Where processes cannot be listed.
pub(super) fn select(
    args: &TargetArgs,
    armed: &HashSet<u32>,
    errors: &mut Errors,
) -> Result<Selected> {
    let mut selected = Selected {
        targets: Vec::new(),
        found: Vec::new(),
    };
    selected.targets = find_named(&args.pids, errors);
    let pids = if args.all {
        proc::pids()
    } else if args.children {
        let named: Vec<u32> = selected.targets.iter().map(Target::pid).collect();
        proc::descendants(&named)
    } else {
        selected.finish();
        return Ok(selected);
    };
    let pids = pids.context("cannot list the processes in /proc")?;
    let mut processes = open(pids, errors);
    if !args.users.is_empty() {
        processes.retain(|process| args.users.contains(&process.user()));
    }
    selected.find(processes, armed, errors);
    if selected.targets.is_empty() && args.all {
        report(&"no process has a registry");
    }
    selected.finish();
    Ok(selected)
}

/// Finds processes by their pids, each once.
pub(super) fn find_named(pids: &[u32], errors: &mut Errors) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for &pid in pids {
        match Target::find(pid) {
            Ok(target) if targets.iter().any(|known| known.pid() == target.pid()) => {}
            Ok(target) => targets.push(target),
            Err(error) => errors.report(&error),
        }
    }
    targets
}

/// Opens processes, in an order that is fair to their users.
pub(super) fn open(pids: Vec<u32>, errors: &mut Errors) -> Vec<Process> {
    let mut processes = Vec::new();
    for pid in pids {
        match Process::open(pid) {
            Ok(process) => processes.push(process),
            Err(error) => errors.report_found(error),
        }
    }
    in_turns(processes, Process::user)
}

/// Returns a process as a target, if it has a registry or is armed.
///
/// # Errors
///
/// [`TargetError`] if it cannot be read or has ended.
pub(super) fn find_target(
    process: Process,
    armed: &HashSet<u32>,
) -> Result<Option<Target>, TargetError> {
    let is_armed = armed.contains(&process.pid());
    let target = Target::of(process)?;
    let can_be_read = is_armed || target.has_registry()?;
    Ok(can_be_read.then_some(target))
}

impl Selected {
    /// Adds those of some processes that have a registry or are armed. Most have nothing to do with roam, or end meanwhile.
    fn find(&mut self, processes: Vec<Process>, armed: &HashSet<u32>, errors: &mut Errors) {
        for process in processes {
            let pid = process.pid();
            match find_target(process, armed) {
                Ok(Some(target)) if !self.contains(pid) => {
                    self.found.push(pid);
                    self.targets.push(target);
                }
                Ok(_) => {}
                Err(error) => errors.report_found(error),
            }
        }
        errors.report_denied();
        let named = self.targets.len() - self.found.len();
        self.targets[named..].sort_by_key(Target::pid);
    }

    fn finish(&mut self) {
        let users: HashSet<u32> = (self.targets.iter())
            .map(|target| target.process.user())
            .collect();
        for target in &mut self.targets {
            target.shows_user = users.len() > 1;
        }
    }
}
