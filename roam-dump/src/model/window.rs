//! What happened while a process was watched.

use std::sync::Arc;

use serde::Serialize;

use super::id::id;

/// What happened while a process was watched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Window {
    /// How long that was, in microseconds.
    pub duration_us: u64,
    /// Per connection.
    pub connections: Vec<ConnectionWindow>,
}

/// Requests of one connection that started and ended while it was watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionWindow {
    /// Serial of the connection.
    #[serde(serialize_with = "id")]
    pub connection: u64,
    /// Name of the connection.
    pub connection_name: Option<Arc<str>>,
    /// Requests that started.
    pub started: u64,
    /// Requests that ended.
    pub ended: u64,
}
