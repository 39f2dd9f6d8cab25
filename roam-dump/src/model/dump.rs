//! Everything that is printed.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{Hub, Snapshot, Verdict, WaitGraph};

/// Version of the JSON that [`Dump`] serializes to.
pub const SCHEMA_VERSION: u32 = 2;

/// A dump of one or several processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Dump {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Time of the dump.
    pub taken_at: Timestamp,
    /// Every verdict once: rows and nodes hold indexes into this list.
    pub verdicts: Vec<Arc<Verdict>>,
    /// The processes, in the order of the command line.
    pub processes: Vec<Snapshot>,
    /// The shared-memory hubs that they map.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hubs: Vec<Hub>,
    /// The wait graph, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<WaitGraph>,
}
