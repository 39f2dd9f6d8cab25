//! Open channels.

use std::sync::Arc;

use roam_trace_common::event::{ChannelDirection, ChannelSide};
use serde::Serialize;

#[cfg(feature = "schema")]
use super::id::Id;
use super::id::{id, optional_id};
use super::source::Source;
use super::verdict::{Verdict, index};

/// An open channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Channel {
    /// Serial of the row; a process never reuses it.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub serial: u64,
    /// Where the row comes from; left out in JSON: the registry.
    #[serde(skip_serializing_if = "Source::is_registry")]
    pub source: Source,
    /// Serial of its connection.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub connection: u64,
    /// Name of its connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_name: Option<Arc<str>>,
    /// Id on the wire.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub channel_id: u64,
    /// Serial of the request that opened it, if known.
    #[serde(serialize_with = "optional_id")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Id>"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// Id on the wire of that request, while it is in flight.
    #[serde(serialize_with = "optional_id")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Id>"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
    /// The direction of its data.
    pub direction: ChannelDirection,
    /// Which of the connection's registries it is in.
    pub side: ChannelSide,
    /// Rust's name of the element type, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element_type: Option<Arc<str>>,
    /// Microseconds since it was opened.
    pub age_us: u64,
    /// Microseconds since data last moved; `None` if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_us: Option<u64>,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Items sent.
    pub items_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Items received.
    pub items_received: u64,
    /// Received items that the program has read; unknown from probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items_read: Option<u64>,
    /// Payload bytes that the peer may still send; `None` for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_budget_bytes: Option<u64>,
    /// Whether the receiving end is known to be gone.
    pub reader_gone: bool,
    /// Whether the sending end is known to be gone.
    pub writer_gone: bool,
    /// Why it is stuck, if it is known to be.
    #[serde(serialize_with = "index")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Arc<Verdict>>,
}
