//! What happened while the probes of a process were attached.

use std::sync::Arc;

use serde::Serialize;

#[cfg(feature = "schema")]
use super::id::Id;
use super::id::id;

/// The requests that started and ended while the probes were attached.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Window {
    /// Length of the window in microseconds.
    pub duration_us: u64,
    /// The counts of each connection.
    pub connections: Vec<ConnectionWindow>,
}

/// Requests of one connection that started and ended in the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionWindow {
    /// Serial of the connection.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub connection: u64,
    /// Name of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_name: Option<Arc<str>>,
    /// Requests that started.
    pub started: u64,
    /// Requests that ended.
    pub ended: u64,
}
