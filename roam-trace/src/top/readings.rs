//! What differs between two readings.

use std::sync::Arc;

use super::cell::Cell;
use super::reading::{ProcessReading, Reading};

/// Which calls a method's numbers are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// Those that ended between the last two readings.
    LastReading,
    /// Those that ended since the process started.
    Start,
}

/// Two readings, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readings<'a> {
    pub(super) now: &'a Reading,
    pub(super) before: Option<&'a Reading>,
}

/// A process in two readings.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessPair<'a> {
    pub(super) now: &'a ProcessReading,
    /// None if it was not read before.
    pub(super) before: Option<&'a ProcessReading>,
    /// Between the two readings; more than 0 if there are two.
    pub(super) seconds: f64,
}

impl<'a> Readings<'a> {
    pub(super) fn processes(self) -> impl Iterator<Item = ProcessPair<'a>> {
        (self.now.processes.iter()).map(move |now| {
            let before = self.before.and_then(|before| before.process(now.key));
            let seconds = before.map_or(0.0, |before| now.seconds_since(before));
            ProcessPair {
                now,
                before: before.filter(|_| seconds > 0.0),
                seconds,
            }
        })
    }
}

impl ProcessPair<'_> {
    pub(super) fn name(&self) -> Arc<str> {
        self.now.snapshot.process.to_string().into()
    }

    /// How much a counter grew a second; `None` if it was not known before.
    fn per_second(&self, now: u64, before: Option<u64>) -> Option<f64> {
        let before = before?;
        Some(now.saturating_sub(before) as f64 / self.seconds)
    }

    pub(super) fn bytes_per_second(&self, now: Option<u64>, before: Option<u64>) -> Cell {
        let rate = now.and_then(|now| self.per_second(now, before));
        Cell::some(rate, Cell::BytesPerSecond)
    }

    pub(super) fn count_per_second(&self, now: Option<u64>, before: Option<u64>) -> Cell {
        let rate = now.and_then(|now| self.per_second(now, before));
        Cell::some(rate, Cell::PerSecond)
    }
}
