//! What cannot be read.

use std::fmt::Display;

use super::report::report;
use crate::error::{Exit, TargetError};

/// The errors that were reported, as far as the exit status remembers them.
pub(super) struct Errors {
    exit: Exit,
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            exit: Exit::Success,
        }
    }
}

impl Errors {
    /// Reports why a process is not read, or not as it was asked for.
    pub(super) fn report(&mut self, error: &TargetError) {
        self.report_as(error.exit(), error);
    }

    /// Reports why a process is not read that nobody named. That some have ended, or never were programs, is no news.
    pub(super) fn report_found(&mut self, error: &TargetError) {
        match error.is_no_process() {
            true => log::debug!("{error}"),
            // It may be the one that hangs.
            false => self.report(error),
        }
    }

    /// Reports an error that leads to the exit status `exit`.
    pub(super) fn report_as(&mut self, exit: Exit, error: &dyn Display) {
        report(error);
        self.exit = self.exit.max(exit);
    }

    /// The exit status of the worst one.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }
}
