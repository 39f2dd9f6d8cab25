//! What a roam program knows of its own requests and channels, kept where a
//! tracer can read it.
//!
//! The program reports events through [`registry`]; each is one row changed in
//! shared memory and one USDT probe. The crate knows neither a session nor the
//! kernel side.

pub mod clock;
mod duration;
mod names;
pub mod probe;
pub mod read;
#[cfg_attr(loom, path = "region_model.rs")]
mod region;
pub mod registry;
pub mod render;
#[cfg(target_os = "linux")]
pub mod sigusr1;
mod slab;
pub mod snapshot;
pub mod state;
mod sync;
pub mod wait;
