//! Shows from outside what a running roam program is waiting for.
//!
//! Data goes one way: a target is found and its registry read ([`process`]), its
//! probes are attached to ([`attach`], [`watch`]), the kernel's maps are read
//! ([`kernel`]), the rows put together ([`merge`]) and printed ([`command`]).
//! Nothing here ever writes to a target.
#![deny(unsafe_code)]

pub mod attach;
pub mod cli;
pub mod command;
pub mod elf;
pub mod error;
pub mod kernel;
pub mod merge;
pub mod privilege;
pub mod process;
pub mod watch;

use cli::Cli;
use error::Exit;

/// Does what the command line asks for. Data goes to stdout, everything else to stderr.
pub fn run(cli: &Cli) -> Exit {
    command::run(cli)
}
