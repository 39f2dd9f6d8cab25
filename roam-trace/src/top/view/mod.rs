//! The views: which rows and columns each has.

mod calls;
mod channels;
mod connections;
mod methods;
mod tables;

use std::sync::Arc;

use roam_dump::model::Verdict;
use roam_trace_common::event::Direction;

use super::cell::Cell;
use super::layout::Column;
use super::reading::{ProcessReading, Reading};
use super::row::Row;

/// A view of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// How often each method is called, and how long its calls take.
    Methods,
    /// The requests in flight.
    Calls,
    /// The connections, and what moves over them.
    Connections,
    /// The open channels, and what moves over them.
    Channels,
    /// How full the tables of registries are.
    Tables,
}

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
pub(super) struct Processes<'a> {
    pub(super) now: &'a ProcessReading,
    /// None if it was not read before.
    pub(super) before: Option<&'a ProcessReading>,
    /// Between the two readings; more than 0 if there are two.
    pub(super) seconds: f64,
}

impl View {
    /// In the order of their keys.
    pub(super) const ALL: [Self; 5] = [
        Self::Methods,
        Self::Calls,
        Self::Connections,
        Self::Channels,
        Self::Tables,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Methods => "Methods",
            Self::Calls => "Calls",
            Self::Connections => "Connections",
            Self::Channels => "Channels",
            Self::Tables => "Tables",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Methods => &methods::COLUMNS,
            Self::Calls => &calls::COLUMNS,
            Self::Connections => &connections::COLUMNS,
            Self::Channels => &channels::COLUMNS,
            Self::Tables => &tables::COLUMNS,
        }
    }

    /// The rows, in no order.
    pub(super) fn rows(self, readings: Readings<'_>, since: Since) -> Vec<Row> {
        let mut rows = Vec::new();
        for process in readings.processes() {
            match self {
                Self::Methods => methods::add(process, since, &mut rows),
                Self::Calls => calls::add(process, &mut rows),
                Self::Connections => connections::add(process, &mut rows),
                Self::Channels => channels::add(process, &mut rows),
                Self::Tables => tables::add(process, &mut rows),
            }
        }
        rows
    }
}

impl<'a> Readings<'a> {
    pub(super) fn processes(self) -> impl Iterator<Item = Processes<'a>> {
        (self.now.processes.iter()).map(move |now| {
            let before = self.before.and_then(|before| before.process(now.key));
            let seconds = before.map_or(0.0, |before| now.seconds_since(before));
            Processes {
                now,
                before: before.filter(|_| seconds > 0.0),
                seconds,
            }
        })
    }
}

impl Processes<'_> {
    fn name(&self) -> Arc<str> {
        self.now.snapshot.process.to_string().into()
    }

    /// How much a counter grew a second; `None` if it was not known before.
    fn per_second(&self, now: u64, before: Option<u64>) -> Option<f64> {
        let before = before?;
        Some(now.saturating_sub(before) as f64 / self.seconds)
    }

    fn bytes_per_second(&self, now: Option<u64>, before: Option<u64>) -> Cell {
        let rate = now.and_then(|now| self.per_second(now, before));
        Cell::some(rate, Cell::BytesPerSecond)
    }

    fn count_per_second(&self, now: Option<u64>, before: Option<u64>) -> Cell {
        let rate = now.and_then(|now| self.per_second(now, before));
        Cell::some(rate, Cell::PerSecond)
    }
}

fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => "→",
        Direction::Incoming => "←",
    }
}

/// The code of a verdict.
fn verdict(verdict: Option<&Verdict>) -> Cell {
    Cell::some(verdict, |verdict| Cell::text(verdict.code.name()))
}
