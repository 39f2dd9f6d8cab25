//! Shows from outside what a running roam program is waiting for.
//!
//! Data goes one way: [`process`] finds a target and reads its registry, [`attach`] and [`watch`] attach its
//! probes, [`armed`] pins them so that they outlive the tracer, [`kernel`] reads the kernel maps, `live` reports events as
//! they happen, [`merge`] merges the rows, and [`command`] prints them, or has `top` draw them.
//! Nothing here writes to a target.
#![deny(unsafe_code)]

pub mod armed;
pub mod attach;
mod bpf;
pub mod cli;
pub mod command;
mod completion;
pub mod elf;
pub mod error;
pub mod huge_pages;
pub mod kernel;
mod live;
pub mod merge;
mod micros;
mod pager;
pub mod privilege;
pub mod process;
mod signals;
mod top;
pub mod watch;

use cli::Cli;
use error::Exit;

/// Runs the command line. Writes data to stdout, and everything else to stderr.
pub fn run(cli: &Cli) -> Exit {
    command::run(cli)
}
