//! What was read of processes at one moment. Types only.

use std::collections::HashMap;

use roam_dump::model::{Snapshot, WaitGraph};
use roam_dump::read::Latencies;
use roam_trace_common::event::Direction;

/// What was read at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// The processes, those that were named first.
    pub(crate) processes: Vec<ProcessReading>,
    /// Who waits for whom.
    pub(crate) graph: WaitGraph,
    /// What could not be read, each as a sentence.
    pub(crate) problems: Vec<String>,
}

/// What was read of one process.
#[derive(Debug, Clone)]
pub(crate) struct ProcessReading {
    /// The process.
    pub(crate) key: Key,
    /// Whether it could be read.
    pub(crate) status: ProcessStatus,
    /// Its rows; none if it could not be read.
    pub(crate) snapshot: Snapshot,
    /// How long the answered calls of its methods took, since it started.
    pub(crate) latencies: HashMap<MethodKey, Latencies>,
}

/// A process, which a later one with the same pid does not equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Its pid.
    pub(crate) pid: u32,
    /// When it started, as `/proc` has it.
    pub(crate) start_ticks: u64,
}

/// A method of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MethodKey {
    /// The registry that counts its calls, by its index among those of the process.
    pub(crate) registry: u32,
    /// The direction of the calls.
    pub(crate) direction: Direction,
    /// The method id on the wire.
    pub(crate) method_id: u64,
}

/// Whether a process could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProcessStatus {
    /// It could.
    Read,
    /// It has ended.
    Ended,
    /// It could not, for this reason.
    Unreadable(String),
}

impl Reading {
    /// Returns a process, if it is among those that were read.
    pub(super) fn process(&self, key: Key) -> Option<&ProcessReading> {
        self.processes.iter().find(|process| process.key == key)
    }
}

impl ProcessReading {
    /// Seconds since an earlier reading of the same process; 0 if it was not read since.
    pub(super) fn seconds_since(&self, earlier: &Self) -> f64 {
        let ns = (self.snapshot.taken_ns).saturating_sub(earlier.snapshot.taken_ns);
        ns as f64 / 1e9
    }
}
