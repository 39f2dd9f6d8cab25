//! The views: which rows and columns each has.

mod calls;
mod channels;
mod connections;
mod methods;
mod tables;

use super::layout::Column;
use super::readings::{Readings, Since};
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
