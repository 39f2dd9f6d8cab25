//! What every traced roam program carries: its in-flight requests, open channels and connections in shared
//! memory, where a tracer can read them.
//!
//! The program reports events through [`registry`]; each event changes one row and fires one USDT probe.
//! Never formats a dump, and knows neither a session nor eBPF.

pub mod callback;
pub mod clock;
mod names;
#[cfg(target_os = "linux")]
mod parts;
pub mod probe;
#[cfg_attr(loom, path = "region_model.rs")]
mod region;
pub mod registry;
#[cfg(target_os = "linux")]
pub mod sigusr1;
mod slab;
mod statistics;
mod sync;
#[cfg(target_os = "linux")]
mod system;
