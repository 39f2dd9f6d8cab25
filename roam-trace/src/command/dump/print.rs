//! The last step.

use std::io::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;
use roam_dump::model::{Dump, WaitGraph};
use roam_dump::render::{dot, graph, json, text};

use crate::cli::DumpArgs;
use crate::command::report::report;
use crate::error::Exit;
use crate::micros::micros;

/// Prints the dump as it was asked for, unless there is nothing in it. Returns the exit status that it leads to.
///
/// # Errors
///
/// Where the output cannot be written.
pub(super) fn print(
    mut dump: Dump,
    args: &DumpArgs,
    color: bool,
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
    match (&dump.graph, args.dot) {
        _ if args.json.json => json::render(out, &dump, args.json.is_pretty())?,
        (Some(graph), true) => dot::render(out, graph)?,
        _ => {
            let options = text::Options {
                color,
                time_zone: TimeZone::system(),
            };
            text::render(out, &dump, &options)?;
        }
    }
    Ok(match (&dump.graph, args.fail_if_stuck) {
        (Some(graph), Some(limit)) => check_stuck(graph, limit),
        _ => Exit::Success,
    })
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
