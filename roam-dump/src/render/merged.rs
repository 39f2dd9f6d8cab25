//! The dump of several processes as text: the processes, then the rows of all of them in one list.

use std::io;

use roam_trace_common::event::Direction;

use super::channel::{channels, registries};
use super::connection::connections;
use super::details::finding;
use super::graph::RootGroup;
use super::hub::hubs;
use super::layout::{
    Indent, Level, Options, RULE, no_connections, no_requests, paragraph, section, sources, time,
};
use super::order::{callers_first, oldest_first};
use super::request::{pending, requests};
use super::table::{Column, table};
use super::{summary, window};
use crate::duration::Age;
use crate::model::{Dump, Snapshot};

const PROCESSES: [Column; 7] = [
    Column::left("PROCESS"),
    Column::left("USER"),
    Column::right("UP"),
    Column::right("OUTGOING"),
    Column::right("INCOMING"),
    Column::right("CHANNELS"),
    Column::right("CONNECTIONS"),
];

/// Writes everything but the wait graph.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn render(
    out: &mut impl io::Write,
    dump: &Dump,
    roots: &[RootGroup<'_>],
    options: &Options,
) -> io::Result<()> {
    let heading = options.heading();
    let processes = dump.processes.as_slice();
    writeln!(out, "{RULE}")?;
    writeln!(
        out,
        "{heading}RPC DIAGNOSTIC DUMP OF {} PROCESSES{heading:#}",
        processes.len()
    )?;
    summary::render(out, dump, roots, options)?;
    writeln!(out, "{}", time(dump.taken_at, options))?;
    let followed = dump.processes.iter().filter(|snapshot| snapshot.followed);
    let followed: Vec<_> = followed.map(|it| it.process.to_string()).collect();
    if !followed.is_empty() {
        let text = format!("added: {}", followed.join(", "));
        let indent = Indent {
            first: "",
            next: "  ",
        };
        paragraph(out, options, indent, Level::Plain, &text)?;
    }
    writeln!(out, "{RULE}")?;
    self::processes(out, processes, options)?;
    let rows = callers_first(processes);
    requests(
        out,
        options,
        "IN-FLIGHT REQUESTS, OLDEST FIRST (→ outgoing, ← incoming)",
        &rows,
        true,
        no_requests(processes),
    )?;
    pending(out, options, &rows, true, no_requests(processes))?;
    let rows = oldest_first(processes, |snapshot| &snapshot.channels, |row| row.age_us);
    channels(out, options, &rows, true)?;
    registries(out, options, processes)?;
    let rows = oldest_first(
        processes,
        |snapshot| &snapshot.connections,
        |row| row.age_us,
    );
    let none = no_connections(processes);
    connections(out, options, &rows, true, none)?;
    hubs(out, options, &dump.hubs)?;
    for snapshot in processes {
        if let Some(of_window) = &snapshot.window {
            let of = format!(" OF {}", snapshot.process);
            window::render(out, of_window, &of, options)?;
        }
    }
    writeln!(out, "{RULE}")
}

fn processes(
    out: &mut impl io::Write,
    processes: &[Snapshot],
    options: &Options,
) -> io::Result<()> {
    section(out, options, "PROCESSES")?;
    table(
        out,
        options,
        &PROCESSES,
        processes,
        "(none)",
        |snapshot, line| {
            let count = |direction| {
                let rows = snapshot.requests.iter();
                rows.filter(|row| row.direction == direction).count()
            };
            line.cell(&snapshot.process);
            match &snapshot.details {
                Some(details) => {
                    match &details.user_name {
                        Some(name) => line.cell(name),
                        None => line.cell(format_args!("uid {}", details.uid)),
                    }
                    line.cell(Age(details.uptime_us));
                }
                None => {
                    line.cell("");
                    line.cell("");
                }
            }
            for direction in [Direction::Outgoing, Direction::Incoming] {
                match snapshot.has_unknown_requests() {
                    true => line.cell("-"),
                    false => line.cell(count(direction)),
                }
            }
            line.cell(snapshot.channels.len());
            line.cell(snapshot.connections.len());
            let details = snapshot.details.as_ref();
            if let Some(command) = details.and_then(|details| details.command_line.as_ref()) {
                line.note(format_args!("command: {command}"));
            }
            line.note(sources(snapshot));
            if !snapshot.gaps.is_empty() {
                line.level = Level::Slow;
            }
            for (level, text) in snapshot.findings.iter().map(finding) {
                line.level = line.level.max(level);
                line.note(format_args!("↳ {text}"));
            }
        },
    )
}
