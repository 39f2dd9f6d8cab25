//! Connections and what moves over them.

use std::fmt;
use std::sync::Arc;

use roam_trace_common::event::{ConnectionState, Role};
use serde::Serialize;

use super::graph::Confidence;
#[cfg(feature = "schema")]
use super::id::Id;
use super::id::id;
use super::process::Process;
use super::source::Source;
use super::verdict::{Verdict, index};

/// A connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Connection {
    /// Serial of the row; a process never reuses it.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub serial: u64,
    /// Where the row comes from; left out in JSON: the registry.
    #[serde(skip_serializing_if = "Source::is_registry")]
    pub source: Source,
    /// Serial of the link's root connection.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub link: u64,
    /// Id on the wire.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub conn_id: u64,
    /// Name.
    pub name: Arc<str>,
    /// Which end of the link the process is.
    pub role: Role,
    /// Its state.
    pub state: ConnectionState,
    /// Microseconds since it reached `state`.
    pub state_age_us: u64,
    /// Attempts to connect that failed so far.
    pub attempts: u32,
    /// Why the last one failed, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Arc<str>>,
    /// Times that a client has lost the link, the present outage included.
    pub losses: u32,
    /// Microseconds since it was opened.
    pub age_us: u64,
    /// What it sent; unknown from probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Traffic>,
    /// What it received; unknown from probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<Traffic>,
    /// The channel whose buffer the driver waits for; nothing else moves on the link meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivering: Option<Delivering>,
    /// The driver of the link, in the row of the root connection; unknown from probes and of drivers that do not
    /// report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// The socket of its transport, in the row of the root connection; `None` if it was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<ConnectionSocket>,
    /// Why it was not found, if the tracer searched for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_unknown: Option<SocketUnknown>,
    /// The process at the other end, if more than counters and times show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<ConnectionPeer>,
    /// If `peer` is not known: the processes that what may be its socket leads to, eight at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub possible_peers: Vec<Process>,
    /// Why it is stuck, if it is.
    #[serde(serialize_with = "index")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Arc<Verdict>>,
}

/// The socket that a link uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionSocket {
    /// Its descriptor in the process.
    pub descriptor: i32,
    /// Own address or path; `None` for an unnamed unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<Arc<str>>,
    /// Address or path of the other end; `None` for an unnamed unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Arc<str>>,
    /// Bytes that have arrived and that the process has not read.
    pub unread_bytes: u64,
    /// Bytes that the process has written and the other end has not received.
    pub unsent_bytes: u64,
    /// `Known` if the sockets of both ends are connected to each other; `High` if only this end's was found, and if other
    /// links have theirs in the same place or it carried about as many bytes as the link counted; else `Medium`.
    pub confidence: Confidence,
}

/// The process at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionPeer {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// `Known` if the sockets of both ends show it, `Medium` if only this end does.
    pub confidence: Confidence,
}

/// Why the socket of a link was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SocketUnknown {
    /// The driver does not report where its transport is: it has not run yet, or the transport has its own driver, as
    /// shared memory has.
    NotReported,
    /// The tracer may not read the memory or the sockets of the process.
    Unreadable,
    /// The memory of the process did not answer in time.
    Timeout,
    /// There is more memory to search than the tracer reads.
    LimitReached,
    /// There is no socket in the transport.
    NotFound,
    /// Several sockets fit.
    Ambiguous,
}

impl fmt::Display for SocketUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReported => "transport not reported",
            Self::Unreadable => "no permission to read memory and sockets of the process",
            Self::Timeout => "the memory of the process was not read in time",
            Self::LimitReached => "limit reached",
            Self::NotFound => "none in the transport",
            Self::Ambiguous => "several fit",
        })
    }
}

/// The last report of the driver of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Driver {
    /// Microseconds since its heartbeat.
    pub polled_age_us: u64,
    /// Microseconds since it started the write to the transport that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writing_us: Option<u64>,
    /// Messages put into its queue.
    pub enqueued: u64,
    /// Messages that it took out of its queue.
    pub dequeued: u64,
}

/// Messages in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Microseconds since the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_us: Option<u64>,
}

/// A delivery that waits for room in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Delivering {
    /// The channel.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub channel_id: u64,
    /// Microseconds that it has waited.
    pub waiting_us: u64,
}
