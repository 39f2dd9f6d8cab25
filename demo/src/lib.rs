//! A roam program to try a tracer on: a host and its cells on the published
//! roam 0.6 crates. They make background traffic, hang on request, and print
//! exactly what a correct dump must show then.
//!
//! The binary `roam-demo` is this library behind a `main`. Tests use [`expect`]
//! to read what the binary prints.

#![deny(unsafe_code)]

pub mod cell;
pub mod cli;
mod clock;
mod control;
mod diagnostics;
pub mod expect;
mod hang;
mod host;
mod hub;
pub mod log;
mod process;
pub mod scenario;
mod serve;
pub mod service;
mod traffic;
