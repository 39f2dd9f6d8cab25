//! Attaches to the probes of running processes.
//!
//! Owns the eBPF programs while they are attached, the order in which they are attached and
//! detached, and the seeding of the maps with what started before. Nothing is
//! pinned where others could find it: when the tracer ends, in whatever way, the kernel detaches
//! everything. The programs of armed sets are loaded here and pinned elsewhere.
//! Never writes to a target.

mod armed;
mod binary;
mod detect;
mod error;
mod function_types;
mod kept;
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
mod relocated;
mod rows;
mod seed;
mod site_memory;
mod sizes;
mod tracer;
mod uprobe_multi;

pub(crate) use armed::{ArmedFile, ArmedPrograms, PROBE_PROGRAMS, armed_programs};
pub use error::{AttachError, LoadError};
pub use kernel_layout::LayoutError;
pub use method::{Method, PidFilter};
pub use options::{ArmedOptions, LiveOptions, Options, Outcomes};
pub use probed::{ProbedFile, ProbedProcess};
pub use rows::Rows;
pub use seed::Seeded;
pub use tracer::{Tracer, check_kernel};
