//! Reads a registry, this process's own or another's, into records.
//!
//! Everything read is hostile until checked: offsets, lengths and codes come
//! from memory that another program wrote. Nothing here interprets a row.

mod budget;
mod counts;
mod header;
mod image;
mod latencies;
mod memory;
#[cfg(loom)]
pub mod model;
mod oldest;
#[cfg(not(loom))]
mod own;
mod scan;
mod statistics;
mod tables;
mod totals;

pub use budget::Budget;
pub use header::{ReadError, read_header};
pub use image::{Image, Truncated};
pub use latencies::Latencies;
pub use memory::RegionMemory;
pub(crate) use memory::read_full;
#[cfg(not(loom))]
pub use own::read_own;
pub use scan::Row;
pub use statistics::read_ended;
pub use tables::{read, read_connections, read_methods, read_serials, read_within};
pub use totals::{MethodKey, MethodTotals};
