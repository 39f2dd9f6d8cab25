//! Finds processes, and reads what they offer to a tracer. Never writes to one.

mod allowance;
pub mod claims;
pub mod clock;
mod deadline;
pub mod descriptors;
mod details;
mod doorbell;
mod guest;
mod holders;
pub mod hub_file;
pub mod hubs;
mod inspected;
pub mod link_sockets;
pub mod mapping;
mod mapping_query;
pub mod maps;
pub mod missing_registry;
pub mod neighbour;
pub mod proc;
pub mod program;
pub mod region;
mod share;
mod socket_table;
pub mod sockets;
mod target;
pub mod transport;
pub mod turns;
pub mod untraced;
mod worker;

pub use deadline::retire_worker;
pub use details::UserNames;
pub use share::Share;
pub use target::{Reading, Target};
