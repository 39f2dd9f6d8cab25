//! The JSON lines that `roam-demo host` prints: its processes, and the rows that a correct dump must show
//! from then on.

use serde::{Deserialize, Serialize};

/// The JSON line for every cell that replaces one that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    /// Pid of the cell that ended.
    pub ended: u32,
    /// Pid of the new one.
    pub pid: u32,
}

/// The JSON line on the host's standard output once every request is in its final phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Always true.
    pub ready: bool,
    /// Process id of the host.
    pub host: u32,
    /// Process ids of the cells, cell 1 first.
    pub cells: Vec<u32>,
    /// Requests that stay in flight. Background traffic apart, which never takes as
    /// long as a second, and calls of `flood`, there are no others.
    pub expect: Vec<ExpectedRequest>,
    /// Channels that stay open.
    pub expect_channels: Vec<ExpectedChannel>,
    /// Connections whose driver is blocked by a full `Rx` buffer.
    pub expect_delivering: Vec<ExpectedDelivery>,
    /// Calls of `--flood`, which are too many to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flood: Option<ExpectedFlood>,
}

/// Which way a request goes, seen from the process that has the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The process is the caller.
    Outgoing,
    /// The process is the one called.
    Incoming,
}

/// How far a request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Outgoing: waiting for room in the driver's queue.
    Queued,
    /// Outgoing: in the driver's queue.
    HandedOver,
    /// Outgoing: written to the transport.
    Sent,
    /// Outgoing: answered, the caller has not read it.
    Responded,
    /// Incoming: taken from the transport, its handler was not polled yet.
    Received,
    /// Incoming: the handler runs.
    Running,
    /// Incoming: the response waits for the driver's queue or the transport.
    Responding,
}

/// A request that stays in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedRequest {
    /// The process that has the row.
    pub pid: u32,
    /// Seen from that process.
    pub direction: Direction,
    /// `Service.method`.
    pub method: String,
    /// How far it got, and where it stays.
    pub phase: Phase,
    /// Name of the connection in that process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The request's id on the wire, where the demo can know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
    /// What joins it with the lines of the witness log.
    pub tag: u64,
    /// When the call was issued, or reached its handler; `CLOCK_MONOTONIC`.
    pub since_monotonic_ns: u64,
    /// The same moment on the wall clock.
    pub since_unix_ms: u64,
}

/// Which way a channel's data goes, seen from the process that has the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelDirection {
    /// The process sends.
    Tx,
    /// The process receives.
    Rx,
}

/// A channel that stays open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedChannel {
    /// The process that has the row.
    pub pid: u32,
    /// The channel's id on the wire.
    pub channel_id: u64,
    /// Seen from that process.
    pub direction: ChannelDirection,
    /// Element type, as Rust writes it.
    pub element: String,
    /// `Service.method` of the call that opened it.
    pub method: String,
    /// Name of the connection in that process.
    pub connection: String,
    /// The id of that call on the wire.
    pub request_id: u64,
    /// Items transferred; absent where the two ends may count differently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// Their serialized bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
}

impl ExpectedChannel {
    /// The same channel at its other end.
    pub fn at_other_end(&self, pid: u32, connection: &str) -> Self {
        Self {
            pid,
            direction: match self.direction {
                ChannelDirection::Tx => ChannelDirection::Rx,
                ChannelDirection::Rx => ChannelDirection::Tx,
            },
            connection: connection.to_owned(),
            ..self.clone()
        }
    }
}

/// A connection whose driver waits for room in a channel's buffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedDelivery {
    /// The process whose driver it is.
    pub pid: u32,
    /// Name of the connection in that process.
    pub connection: String,
    /// The channel whose buffer is full.
    pub channel_id: u64,
}

/// Calls of `--flood`: the host is the caller, every cell has its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedFlood {
    /// `Service.method`.
    pub method: String,
    /// Outgoing calls of the host.
    pub calls: u32,
    /// Incoming calls of each cell, in the order of `cells`.
    pub calls_per_cell: Vec<u32>,
    /// When the first of them was issued; `CLOCK_MONOTONIC`.
    pub since_monotonic_ns: u64,
}
