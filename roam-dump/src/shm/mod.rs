//! Reads the shared-memory hubs of the published roam-shm 0.6.0, by `pread` and never by a mapping.
//!
//! Every offset, size and index is hostile until checked, and time and memory are bounded by a [`HubBudget`]. Nothing is
//! written, and no system call is made in the processes that use the hub.

mod budget;
mod error;
mod join;
pub mod layout;
#[cfg(all(target_os = "linux", not(loom)))]
mod own;
mod pools;
mod read;
mod rings;

pub use budget::HubBudget;
pub use error::HubError;
pub use join::join;
#[cfg(all(target_os = "linux", not(loom)))]
pub use own::own_hubs;
pub use read::{HubDetail, read_hub};
pub use rings::message_kind;
