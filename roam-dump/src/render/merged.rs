//! The dump of several processes as text: the processes, then the rows of all of
//! them in one list, oldest first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::io;

use roam_trace_common::event::Direction;

use super::layout::{Options, RULE, no_connections, section, sources, time};
use super::process::FindingLine;
use super::row::{ChannelLine, ConnectionLine, request_lines};
use super::window;
use crate::count::Counted;
use crate::model::{Dump, Evidence, Relation, Request, Snapshot};

/// Writes everything but the wait graph.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn render(out: &mut impl io::Write, dump: &Dump, options: &Options) -> io::Result<()> {
    let heading = options.heading();
    writeln!(out, "{RULE}")?;
    writeln!(
        out,
        "{heading}RPC DIAGNOSTIC DUMP OF {} PROCESSES{heading:#}",
        dump.processes.len()
    )?;
    writeln!(out, "{}", time(dump.taken_at, options))?;
    writeln!(out, "{RULE}")?;
    section(
        out,
        options,
        "PROCESSES",
        dump.processes.iter().map(|snapshot| ProcessLine {
            snapshot,
            sources: sources(snapshot, options),
        }),
    )?;
    let requests = requests(dump);
    section(
        out,
        options,
        "IN-FLIGHT REQUESTS, OLDEST FIRST (→ outgoing, ← incoming)",
        requests
            .iter()
            .zip(request_lines(requests.iter().copied()))
            .map(|((snapshot, row), line)| {
                let way = match row.direction {
                    Direction::Outgoing => "→",
                    Direction::Incoming => "←",
                };
                Prefixed(format!("{} {way}", snapshot.process), line)
            }),
    )?;
    section(
        out,
        options,
        "OPEN CHANNELS",
        merged(dump, |snapshot| &snapshot.channels, |row| row.age_us)
            .into_iter()
            .map(|(snapshot, row)| {
                Prefixed(snapshot.process.to_string(), ChannelLine(row, snapshot))
            }),
    )?;
    match no_connections(&dump.processes) {
        Some(text) => section(out, options, "CONNECTIONS", [text])?,
        None => section(
            out,
            options,
            "CONNECTIONS",
            merged(dump, |snapshot| &snapshot.connections, |row| row.age_us)
                .into_iter()
                .map(|(snapshot, row)| Prefixed(snapshot.process.to_string(), ConnectionLine(row))),
        )?,
    }
    for snapshot in &dump.processes {
        if let Some(window) = &snapshot.window {
            let of = format!(" OF {}", snapshot.process);
            window::render(out, window, &of, options)?;
        }
    }
    writeln!(out, "{RULE}")
}

/// The requests of all processes by the moment that they began, but none before the caller's row of the same request:
/// the clock of the callee may be a tick behind.
fn requests(dump: &Dump) -> Vec<(&Snapshot, &Request)> {
    let requests = merged(dump, |snapshot| &snapshot.requests, |row| row.age_us);
    let mut callers = HashMap::new();
    for (place, (_, row)) in requests.iter().enumerate() {
        let verdict = row.verdict.as_ref();
        for evidence in verdict.iter().flat_map(|verdict| verdict.evidence.iter()) {
            if let &Evidence::Row {
                relation: Relation::Callee,
                pid,
                serial,
                ..
            } = evidence
            {
                callers.insert((pid, serial), place);
            }
        }
    }
    let mut placed: Vec<_> = (requests.into_iter().enumerate())
        .map(|(place, (snapshot, row))| {
            let caller = callers.get(&(snapshot.process.pid, row.serial)).copied();
            (place.max(caller.unwrap_or(0)), (snapshot, row))
        })
        .collect();
    // What moves stands behind its caller, which was there first.
    placed.sort_by_key(|&(place, (_, row))| (place, row.direction == Direction::Incoming));
    placed.into_iter().map(|(_, row)| row).collect()
}

/// The rows of all processes by the moment that they began.
fn merged<'a, R>(
    dump: &'a Dump,
    rows: impl Fn(&'a Snapshot) -> &'a Vec<R>,
    age_us: impl Fn(&R) -> u64,
) -> Vec<(&'a Snapshot, &'a R)> {
    let mut merged: Vec<_> = dump
        .processes
        .iter()
        .flat_map(|snapshot| rows(snapshot).iter().map(move |row| (snapshot, row)))
        .collect();
    let newest_us = dump
        .processes
        .iter()
        .map(|snapshot| snapshot.taken_ns)
        .max();
    merged.sort_by_key(|(snapshot, row)| {
        // Snapshots of several processes are not one instant.
        let later_us = newest_us.unwrap_or(0) - snapshot.taken_ns;
        Reverse(age_us(row) + later_us / 1_000)
    });
    merged
}

struct Prefixed<L>(String, L);

impl<L: fmt::Display> fmt::Display for Prefixed<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

struct ProcessLine<'a> {
    snapshot: &'a Snapshot,
    sources: String,
}

impl fmt::Display for ProcessLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |direction| {
            self.snapshot
                .requests
                .iter()
                .filter(|row| row.direction == direction)
                .count()
        };
        write!(
            f,
            "{} - {} outgoing, {} incoming, {}, {} · {}",
            self.snapshot.process,
            count(Direction::Outgoing),
            count(Direction::Incoming),
            Counted(self.snapshot.channels.len() as u64, "channels"),
            Counted(self.snapshot.connections.len() as u64, "connections"),
            self.sources
        )?;
        for finding in &self.snapshot.findings {
            write!(f, "\n    ↳ {}", FindingLine(finding))?;
        }
        Ok(())
    }
}
