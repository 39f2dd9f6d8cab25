//! Reads the kernel maps.
//!
//! Owns reading the maps that the programs of `roam-trace-ebpf` fill, and the
//! rule that nothing of a process that ended is ever given out. Never loads or
//! attaches anything.

mod batch;
mod error;
mod live;
mod maps;
mod plain;
mod table;

pub use error::MapAccessError;
pub use live::{Events, LiveCounts};
pub(crate) use live::{read_histograms, read_live_counts};
pub use maps::{Exited, Losses, Maps, ProcessRows};
pub(crate) use maps::{read, read_targets, read_traffic};
pub(crate) use plain::Plain;
pub(crate) use table::{AyaPod, Inserted, MapSource, Table, TableMut};
