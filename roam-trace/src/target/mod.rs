//! Finding out what a process offers to a tracer.

pub mod elf;
