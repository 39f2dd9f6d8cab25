//! Why a snapshot is incomplete.

use std::fmt;

use serde::Serialize;

use super::process::Process;
use crate::count::Counted;

/// One reason why a snapshot is incomplete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "gap", rename_all = "snake_case")]
pub enum Gap {
    /// Events that found this table of the registry full since the process started.
    TableFull {
        /// The table.
        table: &'static str,
        /// How many.
        count: u64,
    },
    /// Rows that changed at each attempt to read them.
    Torn {
        /// How many.
        count: u64,
    },
    /// Rows whose content contradicts itself or its slot.
    Invalid {
        /// How many.
        count: u64,
    },
    /// Rows, names or arguments beyond a limit of the dump.
    Truncated {
        /// What it is.
        what: &'static str,
        /// How many.
        count: u64,
    },
    /// The process was started with `ROAM_DIAGNOSTIC=probes`: its registry has no requests and no statistics.
    ProbesOnly {
        /// Whether its probes were attached, so that only requests that started before are missing.
        attached: bool,
    },
    /// A process that rows of this one wait for, and that is not read.
    NotFollowed {
        /// The process that is waited for.
        process: Process,
        /// Why it is not read.
        reason: String,
    },
    /// Another reason.
    Other {
        /// What is missing, and why.
        text: String,
    },
}

impl Gap {
    /// Adds this gap to `gaps`; counts of the same kind are added up.
    pub fn join(self, gaps: &mut Vec<Self>) {
        for known in gaps.iter_mut() {
            match (known, &self) {
                (
                    Self::TableFull { table: a, count },
                    Self::TableFull {
                        table: b,
                        count: more,
                    },
                )
                | (
                    Self::Truncated { what: a, count },
                    Self::Truncated {
                        what: b,
                        count: more,
                    },
                ) if a == b => {
                    *count = count.saturating_add(*more);
                    return;
                }
                (Self::Torn { count }, Self::Torn { count: more })
                | (Self::Invalid { count }, Self::Invalid { count: more }) => {
                    *count = count.saturating_add(*more);
                    return;
                }
                _ => {}
            }
        }
        gaps.push(self);
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableFull { table, count } => {
                write!(f, "{} lost (table full)", Counted(*count, table))
            }
            Self::Torn { count } => write!(
                f,
                "{} (changed at each attempt to read them)",
                Counted(*count, "torn rows")
            ),
            Self::Invalid { count } => Counted(*count, "invalid rows").fmt(f),
            Self::Truncated { what, count } => {
                let rows = Counted(*count, what);
                write!(f, "{rows} left out (limit reached; see --max-rows)")
            }
            Self::ProbesOnly { attached: false } => f.write_str(
                "requests and statistics are unknown: the process was started with ROAM_DIAGNOSTIC=probes, and its requests can only be seen with roam-trace -d, or once it is armed (roam-trace arm)",
            ),
            Self::ProbesOnly { attached: true } => f.write_str(
                "requests that started before the probes were attached are missing (ROAM_DIAGNOSTIC=probes)",
            ),
            Self::NotFollowed { process, reason } => {
                write!(f, "not followed: {process}: {reason}")
            }
            Self::Other { text } => f.write_str(text),
        }
    }
}
