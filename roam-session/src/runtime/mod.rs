//! Tasks, queues and time, from tokio natively and from the browser's event
//! loop on wasm32. Code outside this module names neither.

#[cfg(not(target_arch = "wasm32"))]
mod tokio_runtime;
#[cfg(not(target_arch = "wasm32"))]
pub use tokio_runtime::*;

#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "wasm32")]
pub use wasm::*;
