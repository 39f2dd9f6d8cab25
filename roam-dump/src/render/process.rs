//! The dump of one process as text.

use std::io;

use roam_trace_common::event::Direction;

use super::channel::{channels, registries};
use super::connection::connections;
use super::details::{finding, heading};
use super::fold::Placed;
use super::graph::RootGroup;
use super::hub::hubs;
use super::layout::{Indent, Options, RULE, no_connections, no_requests, paragraph, section, time};
use super::request::{pending, requests};
use super::{summary, window};
use crate::model::{Dump, Request, Snapshot};

const LINE: Indent<'_> = Indent {
    first: "  ",
    next: "    ",
};

/// Writes everything but the wait graph.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn render(
    out: &mut impl io::Write,
    dump: &Dump,
    snapshot: &Snapshot,
    roots: &[RootGroup<'_>],
    options: &Options,
) -> io::Result<()> {
    let bold = options.heading();
    let process = &snapshot.process;
    writeln!(out, "{RULE}")?;
    writeln!(out, "{bold}[{}] RPC DIAGNOSTIC DUMP{bold:#}", process.name)?;
    summary::render(out, dump, roots, options)?;
    let pid = format!("pid {} · {}", process.pid, time(dump.taken_at, options));
    heading(out, options, &pid, snapshot.details.as_ref())?;
    writeln!(out, "{RULE}")?;

    if !snapshot.findings.is_empty() {
        section(out, options, "PROCESS")?;
        for (level, text) in snapshot.findings.iter().map(finding) {
            paragraph(out, options, LINE, level, &text)?;
        }
    }
    let no_requests = no_requests(&dump.processes);
    let placed: Vec<Placed<'_, Request>> = placed(snapshot, &snapshot.requests);
    for (direction, title) in [
        (
            Direction::Outgoing,
            "IN-FLIGHT REQUESTS, OUTGOING (client → server)",
        ),
        (
            Direction::Incoming,
            "IN-FLIGHT REQUESTS, INCOMING (server → client)",
        ),
    ] {
        let rows = placed.iter().filter(|(_, row)| row.direction == direction);
        let rows: Vec<_> = rows.copied().collect();
        requests(out, options, title, &rows, false, no_requests)?;
    }
    pending(out, options, &placed, false, no_requests)?;
    channels(
        out,
        options,
        &self::placed(snapshot, &snapshot.channels),
        false,
    )?;
    registries(out, options, &dump.processes)?;
    let rows = self::placed(snapshot, &snapshot.connections);
    let none = no_connections(&dump.processes);
    connections(out, options, &rows, false, none)?;
    hubs(out, options, &dump.hubs)?;
    if let Some(of_window) = &snapshot.window {
        window::render(out, of_window, "", options)?;
    }
    writeln!(out, "{RULE}")
}

fn placed<'a, R>(snapshot: &'a Snapshot, rows: &'a [R]) -> Vec<Placed<'a, R>> {
    rows.iter().map(|row| (snapshot, row)).collect()
}
