//! Faults while a real tracer watches a real load: whatever happens to the target, the tracer or the
//! machine, no probe stays attached, no zombie stays, the target works out what it would have without a
//! tracer, and the tracer's counts are those of the target's own log.
//!
//! To be run one after the other, as `cargo xtask test` does.

mod attached;
mod binary;
mod crowd;
mod death;
mod namespace;
mod pid;
mod seen;
mod target;
mod time;
#[path = "../tracer/mod.rs"]
mod tracer;
