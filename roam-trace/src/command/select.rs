//! Which processes a command reads.

use anyhow::{Context, Result};

use super::errors::Errors;
use super::report::{report, report_denied};
use crate::cli::TargetArgs;
use crate::error::TargetError;
use crate::process::{Target, proc};

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
        self.found.contains(&target.pid())
    }

    fn contains(&self, pid: u32) -> bool {
        self.targets.iter().any(|known| known.pid() == pid)
    }
}

/// Finds the processes that were asked for.
///
/// # Errors
///
/// Where processes cannot be listed.
pub(super) fn select(args: &TargetArgs, errors: &mut Errors) -> Result<Selected> {
    let mut selected = Selected {
        targets: Vec::new(),
        found: Vec::new(),
    };
    for &pid in &args.pids {
        match Target::find(pid) {
            Ok(target) if selected.contains(target.pid()) => {}
            Ok(target) => selected.targets.push(target),
            Err(error) => errors.report(&error),
        }
    }
    let pids = if args.all {
        proc::pids()
    } else if args.children {
        let named: Vec<u32> = selected.targets.iter().map(Target::pid).collect();
        proc::descendants(&named)
    } else {
        return Ok(selected);
    };
    find(
        pids.context("cannot list the processes in /proc")?,
        &mut selected,
    );
    if selected.targets.is_empty() && args.all {
        report(&"no process has a registry");
    }
    Ok(selected)
}

/// Adds those of some processes that have a registry. Most have nothing to do with roam, or end meanwhile.
fn find(pids: Vec<u32>, selected: &mut Selected) {
    let mut denied = Vec::new();
    for pid in pids {
        match Target::find(pid).and_then(|target| Ok((target.has_registry()?, target))) {
            Ok((true, target)) if !selected.contains(pid) => {
                selected.found.push(pid);
                selected.targets.push(target);
            }
            Ok(_) => {}
            Err(error) => {
                log::debug!("{error}");
                if let TargetError::NoPermission { missing, .. } = error {
                    denied.push(missing);
                }
            }
        }
    }
    report_denied(&denied);
}
