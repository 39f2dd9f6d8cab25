//! `roam-trace -p PID`: what processes are waiting for.
//!
//! Four steps, each of which takes what the one before returns: select the processes, capture what they
//! have in flight, explain it, print it.

mod by_probes;
mod capture;
mod explain;
mod print;
mod sample;
mod sockets;

use std::io::Write;

use anyhow::Result;

use super::errors::Errors;
use super::select::select;
use crate::cli::DumpArgs;
use crate::error::Exit;
use crate::pager::Pager;
use crate::privilege;
use crate::process::retire_worker;

/// Dumps what can be dumped and reports the rest.
///
/// # Errors
///
/// Where there is no `/proc` or the output cannot be written.
pub(super) fn run(
    args: &DumpArgs,
    color: bool,
    verbose: bool,
    out: &mut impl Write,
) -> Result<Exit> {
    // Asked before the first capability is dropped.
    let pager = match args.is_text() && !args.no_pager {
        true => Pager::of_user(),
        false => None,
    };
    let mut errors = Errors::default();
    let selected = select(&args.targets, &mut errors)?;
    let captured = capture::capture(&selected, args, verbose, &mut errors);
    let dump = explain::explain(captured, args);
    // A reader of the dump that is slow must not keep the privileges, nor a pager have any.
    privilege::drop_all()?;
    retire_worker();
    let exit = print::print(dump, args, color, pager, out)?;
    Ok(exit.max(errors.exit()))
}
