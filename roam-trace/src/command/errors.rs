//! What cannot be read.

use std::collections::HashSet;
use std::fmt::Display;

use super::report::{processes, report};
use crate::error::{Exit, TargetError};
use crate::privilege::Missing;

/// The errors that were reported, as far as the exit status remembers them.
pub(super) struct Errors {
    exit: Exit,
    /// Processes that nobody named and that cannot be read, with what is missing for each.
    denied: Vec<(u32, Missing)>,
    /// What was reported: processes that are read once more fail once more.
    reported: HashSet<String>,
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            exit: Exit::Success,
            denied: Vec::new(),
            reported: HashSet::new(),
        }
    }
}

impl Errors {
    /// Reports why a process is not read, or not as it was asked for.
    pub(super) fn report(&mut self, error: &TargetError) {
        self.report_as(error.exit(), error);
    }

    /// Reports why a process is not read that nobody named. That some have ended, or never were programs, is no news;
    /// those that are denied are reported together, by [`Self::report_denied`].
    pub(super) fn report_found(&mut self, error: TargetError) {
        match error {
            TargetError::NoPermission { pid, missing, .. } => self.denied.push((pid, missing)),
            _ if error.is_no_process() => log::debug!("{error}"),
            // It may be the one that hangs.
            _ => self.report(&error),
        }
    }

    /// Reports the processes that are denied, with what is missing for one of them.
    pub(super) fn report_denied(&mut self) {
        let (pids, missing): (Vec<_>, Vec<_>) = self.denied.drain(..).unzip();
        if let Some(missing) = missing.first() {
            let processes = processes(&pids);
            report(&format_args!(
                "no permission to read {processes}: {missing}"
            ));
        }
    }

    /// Reports an error that leads to the exit status `exit`.
    pub(super) fn report_as(&mut self, exit: Exit, error: &dyn Display) {
        if self.reported.insert(error.to_string()) {
            report(error);
        }
        self.exit = self.exit.max(exit);
    }

    /// The exit status of the worst one.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }
}
