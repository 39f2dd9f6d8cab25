//! The contract between the traced program, the eBPF programs and the tracer.
//!
//! Owns the memory layout of the registry, the arguments of the probes, the
//! keys and values of the kernel maps, and every limit that two sides share.
//! Never does I/O and never decides anything.
#![no_std]

pub mod armed;
pub mod event;
pub mod latency;
pub mod limits;
pub mod registry;
pub mod serial;

pub use serial::Serial;
