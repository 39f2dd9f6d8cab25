//! The ways of attaching.

use std::fmt;

use super::error::AttachError;

/// A way of attaching programs to probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One link for all sites of a program (Linux 6.6).
    UprobeMulti(PidFilter),
    /// One perf event for each site. Needs CAP_SYS_ADMIN.
    PerfEvent,
}

/// Which side filters out the processes that are not traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidFilter {
    /// The kernel: no other process traps.
    Kernel,
    /// The program: every process traps that runs the same binary.
    Program,
}

impl Method {
    /// Returns the error for a user without permission to attach this way.
    pub(super) fn permission_error(self) -> AttachError {
        match self {
            Self::UprobeMulti(_) => AttachError::may_not_load(),
            Self::PerfEvent => AttachError::may_not_open_events(),
        }
    }

    /// Returns which side filters out other processes.
    pub fn pid_filter(self) -> PidFilter {
        match self {
            Self::UprobeMulti(filter) => filter,
            Self::PerfEvent => PidFilter::Program,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UprobeMulti(_) => "uprobe_multi",
            Self::PerfEvent => "perf events",
        })
    }
}
