//! Shows from outside what a live roam process is waiting for.
//!
//! Data goes one way: a target is found ([`target`]), its probes are attached
//! to ([`attach`]), the kernel's maps are read ([`kernel`]). Nothing here ever
//! writes to a target.
#![deny(unsafe_code)]

pub mod attach;
pub mod kernel;
pub mod target;
