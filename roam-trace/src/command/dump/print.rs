//! The last step.

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::time::Duration;

use jiff::tz::TimeZone;
use roam_dump::model::{Dump, WaitGraph};
use roam_dump::render::{dot, graph, json, text};

use crate::cli::DumpArgs;
use crate::command::report::report;
use crate::error::Exit;
use crate::micros::micros;
use crate::pager::{Paged, Pager, text_width};

/// Prints the dump as it was asked for, unless there is nothing in it. Returns the exit status that it leads to.
///
/// # Errors
///
/// Where the output cannot be written.
pub(super) fn print(
    mut dump: Dump,
    args: &DumpArgs,
    color: bool,
    pager: Option<Pager>,
    out: &mut impl Write,
) -> io::Result<Exit> {
    if dump.processes.is_empty() {
        return Ok(Exit::Success);
    }
    if let Some(min_age) = args.min_age {
        for snapshot in &mut dump.processes {
            snapshot.retain_older(micros(min_age));
        }
    }
    let printed = match &dump.graph {
        _ if args.json.json => json::render(out, &dump, args.json.is_pretty()),
        Some(graph) if args.dot => dot::render(out, graph),
        _ => {
            let options = text::Options {
                color,
                time_zone: TimeZone::system(),
                width: text_width(),
                is_full: args.full,
            };
            print_text(&dump, &options, pager, out)
        }
    };
    match printed.and_then(|()| out.flush()) {
        // Who reads the output may leave; something is stuck all the same.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    let exit = match (&dump.graph, args.fail_if_stuck) {
        (Some(graph), Some(limit)) => check_stuck(graph, limit),
        _ => Exit::Success,
    };
    // The process ends now, and the kernel takes its memory back at once, not row by row.
    mem::forget(dump);
    Ok(exit)
}

/// Prints the text, through the pager if it is longer than the terminal.
fn print_text(
    dump: &Dump,
    options: &text::Options,
    pager: Option<Pager>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut paged = Paged::new(pager, out);
    let rendered = text::render(&mut paged, dump, options);
    // The user may be reading still.
    let is_shown = paged.finish()?;
    match is_shown {
        true => rendered,
        false => text::render(out, dump, options),
    }
}

/// Reports what holds something up for too long: the root blocker, and that of every other user.
fn check_stuck(graph: &WaitGraph, limit: Duration) -> Exit {
    let alarms = graph.alarms(micros(limit));
    for root in &alarms {
        let line = graph::root_line(graph, root);
        let stuck = Duration::from_micros(root.oldest_us).as_secs_f64();
        report(&format_args!("stuck for {stuck:.1}s: {line}"));
    }
    match alarms.is_empty() {
        true => Exit::Success,
        false => Exit::Stuck,
    }
}
