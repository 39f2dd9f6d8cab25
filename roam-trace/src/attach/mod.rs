//! Attaching to the probes of live processes.
//!
//! Owns the kernel programs while they are attached, the order in which they
//! come and go, and the seeding of the maps with what began before. Nothing is
//! pinned: when the tracer ends, in whatever way, the kernel detaches everything.
//! Never writes to a target.

mod binary;
mod detect;
mod error;
mod kernel_layout;
mod links;
mod log_lines;
mod method;
mod namespace;
mod object;
mod options;
mod order;
mod perf_event;
mod probed;
mod rows;
mod seed;
mod signals;
mod tracer;
mod uprobe_multi;

pub use error::{AttachError, LoadError};
pub use kernel_layout::LayoutError;
pub use method::{Method, PidFilter};
pub use options::Options;
pub use probed::{ProbedFile, ProbedProcess};
pub use rows::Rows;
pub use seed::Seeded;
pub use tracer::{Tracer, check_kernel};
