//! The whole of what is printed.

use jiff::Timestamp;
use serde::Serialize;

use super::{Snapshot, WaitGraph};

/// Version of the JSON that [`Dump`] serializes to.
pub const SCHEMA_VERSION: u32 = 1;

/// One dump: one or several processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dump {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The processes, in the order they were asked for.
    pub processes: Vec<Snapshot>,
    /// Who waits for whom, where somebody worked it out.
    pub graph: Option<WaitGraph>,
}
