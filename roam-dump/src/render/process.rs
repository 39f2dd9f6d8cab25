//! The dump of one process as text.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use roam_trace_common::event::{ChannelSide, Direction, Phase};

use super::layout::{Options, RULE, no_connections, section, sources, time};
use super::row::{ChannelLine, ConnectionLine, PendingLine, request_lines};
use super::window;
use crate::count::Counted;
use crate::model::{Channel, ProcessFinding, Severity, Snapshot};

/// Writes everything but the wait graph.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn render(
    out: &mut impl io::Write,
    snapshot: &Snapshot,
    taken_at: Timestamp,
    options: &Options,
) -> io::Result<()> {
    let heading = options.heading();
    let requests = |direction| {
        snapshot
            .requests
            .iter()
            .filter(move |request| request.direction == direction)
    };
    writeln!(out, "{RULE}")?;
    writeln!(
        out,
        "{heading}[{}] RPC DIAGNOSTIC DUMP{heading:#}",
        snapshot.process.name
    )?;
    writeln!(
        out,
        "pid {} · {} · {}",
        snapshot.process.pid,
        time(taken_at, options),
        sources(snapshot, options)
    )?;
    writeln!(out, "{RULE}")?;

    if !snapshot.findings.is_empty() {
        let findings = snapshot.findings.iter().map(FindingLine);
        section(out, options, "PROCESS", findings)?;
    }
    section(
        out,
        options,
        "IN-FLIGHT REQUESTS, OUTGOING (client → server)",
        request_lines(requests(Direction::Outgoing).map(|request| (snapshot, request))),
    )?;
    section(
        out,
        options,
        "IN-FLIGHT REQUESTS, INCOMING (server → client)",
        request_lines(requests(Direction::Incoming).map(|request| (snapshot, request))),
    )?;
    section(
        out,
        options,
        "PENDING RESPONSES (waiting for remote)",
        requests(Direction::Outgoing)
            .filter(|request| request.phase == Phase::Sent)
            .map(PendingLine),
    )?;
    section(
        out,
        options,
        "OPEN CHANNELS",
        snapshot
            .channels
            .iter()
            .map(|channel| ChannelLine(channel, snapshot)),
    )?;
    section(
        out,
        options,
        "CHANNEL REGISTRIES",
        channel_registries(snapshot),
    )?;
    match no_connections(std::slice::from_ref(snapshot)) {
        Some(text) => section(out, options, "CONNECTIONS", [text])?,
        None => section(
            out,
            options,
            "CONNECTIONS",
            snapshot.connections.iter().map(ConnectionLine),
        )?,
    }
    if let Some(window) = &snapshot.window {
        window::render(out, window, "", options)?;
    }
    writeln!(out, "{RULE}")
}

/// A fact about the whole process.
pub(super) struct FindingLine<'a>(pub(super) &'a ProcessFinding);

impl fmt::Display for FindingLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.0.severity {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        write!(f, "{severity}: {}", self.0.text)
    }
}

struct RegistryLine {
    connection_name: Arc<str>,
    side: ChannelSide,
    channel_ids: Vec<u64>,
}

/// Both registries of every connection that has an open channel.
fn channel_registries(snapshot: &Snapshot) -> Vec<RegistryLine> {
    let mut connections: BTreeMap<u64, (&Channel, [Vec<u64>; 2])> = BTreeMap::new();
    for channel in &snapshot.channels {
        let (_, sides) = connections
            .entry(channel.connection)
            .or_insert_with(|| (channel, [Vec::new(), Vec::new()]));
        sides[usize::from(channel.side == ChannelSide::Client)].push(channel.channel_id);
    }
    connections
        .into_iter()
        .flat_map(|(serial, (channel, sides))| {
            let name = channel
                .connection_name
                .clone()
                .unwrap_or_else(|| format!("connection {serial}").into());
            [ChannelSide::Server, ChannelSide::Client]
                .into_iter()
                .zip(sides)
                .map(move |(side, mut channel_ids)| {
                    channel_ids.sort_unstable();
                    RegistryLine {
                        connection_name: name.clone(),
                        side,
                        channel_ids,
                    }
                })
        })
        .collect()
}

impl fmt::Display for RegistryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            ChannelSide::Client => "client",
            ChannelSide::Server => "server",
        };
        write!(f, "{} {side}_channel_registry: ", self.connection_name)?;
        match self.channel_ids.as_slice() {
            [] => f.write_str("(none)"),
            ids => write!(f, "{} {ids:?}", Counted(ids.len() as u64, "channels")),
        }
    }
}
