//! From records to the model. What this version does not know is left out and counted; text becomes printable.

mod kernel;
mod names;
mod printable;
mod registry;
mod row;
mod statistics;

pub use kernel::{KernelRows, from_kernel, loss_gaps};
pub use names::Names;
pub use printable::printable;
pub use registry::from_registry;
pub use statistics::{latency, latency_of_buckets};
