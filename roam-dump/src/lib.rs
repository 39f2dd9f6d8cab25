//! Reads the registry that `roam-diagnostic` writes, decodes it, finds why rows are stuck, and prints dumps:
//! in the traced program itself and in `roam-trace`.
//!
//! Never writes to a registry, and makes no system calls except to read memory, and for [`sigusr1`]. Reads shared-memory
//! hubs of roam-shm as well.

pub mod analysis;
mod count;
pub mod decode;
pub mod duration;
mod explain;
pub mod model;
pub mod read;
pub mod render;
pub mod shm;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod sigusr1;
mod wording;

pub use explain::{Explanation, explain, explain_hubs};
