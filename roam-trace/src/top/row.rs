//! The rows of a table.

use roam_dump::model::{Code, Verdict};

use super::cell::Cell;
use super::reading::{Key, MethodKey};

/// A row of a table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: RowId,
    pub(super) level: Level,
    /// One for each column.
    pub(super) cells: Vec<Cell>,
}

/// What a row is of: the same from one reading to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RowId {
    pub(super) process: Key,
    pub(super) item: Item,
}

/// What a row of a process is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Item {
    Method(MethodKey),
    /// By serial.
    Request(u64),
    /// By serial.
    Connection(u64),
    /// By serial.
    Channel(u64),
    /// By its index among those of the process.
    Table(usize),
}

/// How bad a row is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Plain,
    /// It is slow, or may soon be a problem.
    Warning,
    /// It is stuck, or a problem.
    Critical,
}

impl Level {
    pub(super) fn of(verdict: Option<&Verdict>) -> Self {
        match verdict.map(|verdict| verdict.code) {
            None => Self::Plain,
            Some(Code::Usual) => Self::Warning,
            Some(_) => Self::Critical,
        }
    }
}

impl Row {
    /// What the row is of: the last cell.
    pub(super) fn name(&self) -> &Cell {
        self.cells.last().unwrap_or(&Cell::None)
    }

    /// Whether one of its texts contains `needle`, which is in lower case.
    pub(super) fn contains(&self, needle: &str) -> bool {
        self.cells.iter().any(|cell| match cell {
            Cell::Text(text) => text.to_lowercase().contains(needle),
            _ => false,
        })
    }
}
