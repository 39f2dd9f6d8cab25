//! `roam-trace -p PID`: what processes are waiting for.
//!
//! Four steps, each of which takes what the one before returns: select the processes, capture what they
//! have in flight, explain it, print it. As long as the explanation shows processes that are waited for and were not
//! read, these are selected too.

mod awaited;
mod by_probes;
mod capture;
mod explain;
mod follow;
mod hubs;
mod print;
mod sample;
mod sockets;

use std::io::Write;

use anyhow::Result;

use roam_dump::read::Budget;

use self::capture::capture_again;
use self::explain::Explained;
use self::follow::{Following, Step};
use super::errors::Errors;
use super::pins::Pins;
use super::select::select;
use crate::cli::{DumpArgs, Source};
use crate::error::Exit;
use crate::pager::Pager;
use crate::privilege;
use crate::process::{Share, retire_worker};

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
    // What -d attaches reports the same, and more.
    let pins = match (args.source, args.duration) {
        (Source::Auto | Source::Probes, None) => Pins::open(),
        _ => Pins::default(),
    };
    let armed = pins.pids();
    let mut selected = select(&args.targets, &armed, &mut errors)?;
    let mut captured = capture::capture(&selected, args, pins, verbose, &mut errors);
    // Who follows reads registries, which --source probes excludes.
    let follows = !args.no_follow && args.source != Source::Probes;
    let mut following = follows.then(|| Following::begin(armed));
    let mut dump = loop {
        let shares = Share::divide(Budget::of_rows(args.max_rows), &selected.targets);
        let explained = Explained::at_first(captured, &shares, args);
        let step = (following.as_mut()).map_or(Step::Done, |following| {
            let snapshots = &explained.captured.snapshots;
            following.step(snapshots, &explained.facts, &selected.targets)
        });
        match step {
            Step::Done => break explained.finish(&shares),
            Step::Add(added) => selected.add(added),
            Step::Remove(pids) => selected.remove(&pids),
        }
        let first = explained.into_captured();
        captured = capture_again(first, &selected, args, &mut errors);
    };
    if let Some(following) = following {
        following.add_gaps(&mut dump.processes);
    }
    // A reader of the dump that is slow must not keep the privileges, nor a pager have any.
    privilege::drop_all()?;
    retire_worker();
    let exit = print::print(dump, args, color, pager, out)?;
    Ok(exit.max(errors.exit()))
}
