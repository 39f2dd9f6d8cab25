//! From bytes to answers: reads what `roam-diagnostic` recorded, decodes, judges and prints it, inside the
//! traced program and outside of it.
//!
//! Never writes to a registry, and never looks at the system.

pub mod analysis;
pub mod decode;
mod duration;
pub mod model;
pub mod read;
pub mod render;
#[cfg(all(target_os = "linux", not(loom)))]
pub mod sigusr1;
