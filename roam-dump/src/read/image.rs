//! What was read of a registry.

use std::collections::{BTreeMap, HashMap};

use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, HeaderRecord, RequestRecord, Table,
};

/// What a registry held.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its header, checked.
    pub header: HeaderRecord,
    /// Connection rows, by serial.
    pub connections: BTreeMap<u64, ConnectionRecord>,
    /// Request rows.
    pub requests: Vec<RequestRecord>,
    /// The arguments of requests by their serial, where the process keeps them.
    pub arguments: HashMap<u64, Vec<u8>>,
    /// Channel rows.
    pub channels: Vec<ChannelRecord>,
    /// Method names by method id, as bytes.
    pub methods: HashMap<u64, Vec<u8>>,
    /// Element type names by slot, as bytes.
    pub types: Vec<Vec<u8>>,
    /// Rows that stayed half written while they were read.
    pub torn: u64,
    /// Rows whose serial contradicts their slot.
    pub invalid: u64,
    /// What there was no room or no time for.
    pub truncated: Truncated,
}

impl Image {
    /// Keeps the names and the connections alone.
    pub fn forget_rows(&mut self) {
        self.requests = Vec::new();
        self.arguments = HashMap::new();
        self.channels = Vec::new();
    }

    /// Events that found a table full.
    pub fn lost(&self, table: Table) -> u64 {
        self.header.tables[table as usize].lost
    }
}

/// What was not read for lack of room or time.
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
    /// Requests of which the arguments were.
    pub arguments: u64,
    /// Slots that were not scanned, or not read again where they changed meanwhile.
    pub slots: u64,
}

impl Truncated {
    /// Whether everything was read.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}
