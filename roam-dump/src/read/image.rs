//! What was read from a registry.

use std::collections::BTreeMap;

use foldhash::HashMap;
use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, FLAG_PROBES_ONLY, HeaderRecord, RequestRecord, Table,
};

use super::totals::MethodTotals;

/// The content of a registry.
#[derive(Debug, Clone)]
pub struct Image {
    /// The checked header.
    pub header: HeaderRecord,
    /// Connection rows, by serial.
    pub connections: BTreeMap<u64, ConnectionRecord>,
    /// Request rows.
    pub requests: Vec<RequestRecord>,
    /// The arguments of requests by serial, if the process records them.
    pub arguments: HashMap<u64, Vec<u8>>,
    /// Channel rows.
    pub channels: Vec<ChannelRecord>,
    /// Method names by method id, as bytes.
    pub methods: HashMap<u64, Vec<u8>>,
    /// Element type names by slot, as bytes.
    pub types: Vec<Vec<u8>>,
    /// The calls that have ended, by method and direction.
    pub statistics: Vec<MethodTotals>,
    /// Rows that changed at each attempt to read them.
    pub torn: u64,
    /// Rows whose serial contradicts their slot.
    pub invalid: u64,
    /// What was left out because a limit was reached.
    pub truncated: Truncated,
}

impl Image {
    /// Returns whether the process reports its requests by probes only.
    pub fn is_probes_only(&self) -> bool {
        self.header.flags & FLAG_PROBES_ONLY != 0
    }

    /// Drops all rows except connections; names stay.
    pub fn forget_rows(&mut self) {
        self.requests = Vec::new();
        self.arguments = HashMap::default();
        self.channels = Vec::new();
    }

    /// Returns the number of events that found a table full.
    pub fn lost(&self, table: Table) -> u64 {
        self.header.tables[table as usize].lost
    }
}

/// What was left out because a limit was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Rows of connections.
    pub connections: u64,
    /// Rows of requests, younger ones.
    pub requests: u64,
    /// Rows of channels, younger ones.
    pub channels: u64,
    /// Names.
    pub names: u64,
    /// Requests whose arguments were left out.
    pub arguments: u64,
    /// Rows of statistics.
    pub statistics: u64,
    /// Slots that were not scanned, or not read again although they changed.
    pub slots: u64,
}

impl Truncated {
    /// Returns whether nothing was left out.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}
