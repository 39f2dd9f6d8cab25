//! The dump as text, made for one screen and one hung call.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Mark, Phase, Role,
};

use super::{graph, merged};
use crate::duration::Age;
use crate::snapshot::{Channel, Connection, Dump, Request, Snapshot, Source, Traffic, Window};
use crate::wait::Verdict;

pub(super) const RULE: &str = "============================================================";

/// How the text looks.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether headings and long waits are coloured.
    pub color: bool,
    /// The zone in which times are given.
    pub time_zone: TimeZone,
}

impl Options {
    pub(super) fn heading(&self) -> Style {
        self.style(Style::new().bold())
    }

    pub(super) fn warning(&self) -> Style {
        self.style(AnsiColor::Red.on_default())
    }

    fn style(&self, style: Style) -> Style {
        if self.color { style } else { Style::new() }
    }
}

/// Writes the dump.
///
/// # Errors
///
/// What the writer returns.
pub fn render(out: &mut impl io::Write, dump: &Dump, options: &Options) -> io::Result<()> {
    match dump.processes.as_slice() {
        [snapshot] => render_snapshot(out, snapshot, dump.taken_at, options)?,
        _ => merged::render(out, dump, options)?,
    }
    if let Some(graph) = &dump.graph {
        writeln!(out)?;
        graph::render(out, graph, options)?;
    }
    Ok(())
}

fn render_snapshot(
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
            .map(|channel| ChannelLine(channel, snapshot.source)),
    )?;
    section(
        out,
        options,
        "CHANNEL REGISTRIES",
        channel_registries(snapshot),
    )?;
    section(
        out,
        options,
        "CONNECTIONS",
        snapshot.connections.iter().map(ConnectionLine),
    )?;
    if let Some(window) = &snapshot.window {
        render_window(out, window, "", options)?;
    }
    writeln!(out, "{RULE}")
}

/// Where the rows of a process come from, and what is missing.
pub(super) fn sources(snapshot: &Snapshot, options: &Options) -> String {
    let mut text = format!("source: {} · ", snapshot.source);
    if snapshot.gaps.is_empty() {
        text.push_str("complete");
        return text;
    }
    let warning = options.warning();
    let gaps: Vec<_> = snapshot.gaps.iter().map(ToString::to_string).collect();
    text.push_str(&format!(
        "{warning}incomplete: {}{warning:#}",
        gaps.join("; ")
    ));
    text
}

pub(super) fn time(taken_at: Timestamp, options: &Options) -> String {
    taken_at
        .to_zoned(options.time_zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

pub(super) fn section<L: fmt::Display>(
    out: &mut impl io::Write,
    options: &Options,
    title: &str,
    lines: impl IntoIterator<Item = L>,
) -> io::Result<()> {
    let heading = options.heading();
    writeln!(out, "\n{heading}{title}:{heading:#}")?;
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        writeln!(out, "  (none)")?;
    }
    for line in lines {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

pub(super) struct RequestLine<'a> {
    request: &'a Request,
    /// Where the process's rows come from.
    source: Source,
    /// The verdict of the row above.
    above: Option<&'a Verdict>,
}

pub(super) fn request_lines<'a>(
    rows: impl Iterator<Item = (&'a Snapshot, &'a Request)>,
) -> impl Iterator<Item = RequestLine<'a>> {
    let mut above = None;
    rows.map(move |(snapshot, request)| RequestLine {
        request,
        source: snapshot.source,
        above: std::mem::replace(&mut above, request.verdict.as_ref()),
    })
}

impl fmt::Display for RequestLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request;
        write!(f, "[req_id={}] ", request.request_id)?;
        f.write_str(&request.method_name())?;
        match &request.arguments {
            Some(arguments) if arguments.starts_with('(') => f.write_str(arguments)?,
            Some(arguments) => write!(f, "({arguments})")?,
            None => {}
        }
        let verb = match request.direction {
            Direction::Outgoing => "waiting",
            Direction::Incoming => "open",
        };
        write!(f, " - {verb} {} (", Age(request.age_us))?;
        f.write_str(phase(request))?;
        f.write_str(match request.mark {
            Some(Mark::Orphaned) => ", orphaned)",
            Some(Mark::EndedWithoutAnswer) => ", ended without answer)",
            None => ")",
        })?;
        connection_name(f, request.connection_name.as_deref())?;
        only_source(f, request.source, self.source)?;
        match (&request.verdict, self.above) {
            // A hundred thousand calls behind one driver have one reason.
            (Some(verdict), Some(above)) if Arc::ptr_eq(&verdict.text, &above.text) => {
                f.write_str("\n    ↳ as above")
            }
            (verdict, _) => why(f, verdict.as_ref()),
        }
    }
}

/// The verdict, on a line of its own below the row.
fn why(f: &mut fmt::Formatter<'_>, verdict: Option<&Verdict>) -> fmt::Result {
    match verdict {
        Some(verdict) => write!(f, "\n    ↳ {}: {}", verdict.code, verdict.text),
        None => Ok(()),
    }
}

fn phase(request: &Request) -> &'static str {
    match request.phase {
        Phase::Queued => "waiting for the queue",
        Phase::HandedOver if request.writes_observable => "handed over",
        Phase::HandedOver => "handed over, write not observable",
        Phase::Sent => "sent",
        Phase::Responded => "responded",
        Phase::Received => "received",
        Phase::Running => "running",
        Phase::Responding => "responding",
    }
}

fn connection_name(f: &mut fmt::Formatter<'_>, name: Option<&str>) -> fmt::Result {
    match name {
        Some(name) => write!(f, " · {name}"),
        None => Ok(()),
    }
}

/// Says where a row comes from, unless all of the snapshot comes from there.
fn only_source(f: &mut fmt::Formatter<'_>, row: Source, snapshot: Source) -> fmt::Result {
    if row == snapshot {
        Ok(())
    } else {
        write!(f, " · {row} only")
    }
}

struct PendingLine<'a>(&'a Request);

impl fmt::Display for PendingLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[req_id={}] - waiting {}",
            self.0.request_id,
            Age(self.0.phase_age_us)
        )?;
        connection_name(f, self.0.connection_name.as_deref())
    }
}

pub(super) struct ChannelLine<'a>(pub(super) &'a Channel, pub(super) Source);

impl fmt::Display for ChannelLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = self.0;
        let (name, way) = match channel.direction {
            ChannelDirection::Tx => ("Tx", "outgoing"),
            ChannelDirection::Rx => ("Rx", "incoming"),
        };
        let element_type = channel.element_type.as_deref().unwrap_or("?");
        write!(
            f,
            "[ch={}] {name}<{element_type}> - open {} ({way}",
            channel.channel_id,
            Age(channel.age_us)
        )?;
        let is_tx = channel.direction == ChannelDirection::Tx;
        if is_tx || channel.items_sent > 0 {
            write!(f, ", {} sent", Bytes(channel.bytes_sent))?;
        }
        if !is_tx || channel.items_received > 0 {
            write!(f, ", {} received", Bytes(channel.bytes_received))?;
        }
        let unread = channel
            .items_read
            .map_or(0, |read| channel.items_received.saturating_sub(read));
        if unread > 0 {
            write!(f, ", {unread} items unread")?;
        }
        if channel.items_received > 0
            && let Some(budget) = channel.receive_budget_bytes
        {
            write!(f, ", budget {}", Bytes(budget))?;
        }
        if let Some(idle_us) = channel.idle_us {
            write!(f, ", idle {}", Age(idle_us))?;
        }
        f.write_str(")")?;
        match channel.request_id {
            Some(request_id) => write!(f, " · req_id={request_id}")?,
            None => connection_name(f, channel.connection_name.as_deref())?,
        }
        only_source(f, channel.source, self.1)?;
        why(f, channel.verdict.as_ref())
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
            [id] => write!(f, "1 channel [{id}]"),
            ids => write!(f, "{} channels {ids:?}", ids.len()),
        }
    }
}

pub(super) struct ConnectionLine<'a>(pub(super) &'a Connection);

impl fmt::Display for ConnectionLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.0;
        let role = match connection.role {
            Role::Initiator => "initiator",
            Role::Acceptor => "acceptor",
        };
        write!(
            f,
            "{} ({role}, conn {})",
            connection.name, connection.conn_id
        )?;
        let state_age = Age(connection.state_age_us);
        match connection.state {
            ConnectionState::Closed => write!(f, " - closed {state_age} ago")?,
            ConnectionState::Connecting => write!(f, " - connecting {state_age}")?,
            ConnectionState::BackingOff => write!(
                f,
                " - backing off {state_age} (attempt {} failed)",
                connection.attempts
            )?,
            ConnectionState::Open | ConnectionState::Grouping => {
                write!(f, " - open {}", Age(connection.age_us))?;
            }
        }
        if let (Some(sent), Some(received)) = (connection.sent, connection.received) {
            write!(f, " (sent {}; received {})", Moved(sent), Moved(received))?;
        }
        if let Some(delivering) = connection.delivering {
            write!(
                f,
                " · delivering to channel {} since {}",
                delivering.channel_id,
                Age(delivering.waiting_us)
            )?;
        }
        why(f, connection.verdict.as_ref())
    }
}

struct Moved(Traffic);

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traffic = self.0;
        let plural = if traffic.messages == 1 { "" } else { "s" };
        write!(f, "{} message{plural}", traffic.messages)?;
        match traffic.idle_us {
            Some(idle_us) => write!(
                f,
                ", {}, {} ago",
                Bytes(traffic.payload_bytes),
                Age(idle_us)
            ),
            None => Ok(()),
        }
    }
}

/// `of` names the process where there are several.
pub(super) fn render_window(
    out: &mut impl io::Write,
    window: &Window,
    of: &str,
    options: &Options,
) -> io::Result<()> {
    section(
        out,
        options,
        &format!("REQUESTS{of} IN THE LAST {}", Age(window.duration_us)),
        window.connections.iter().map(|traffic| {
            let name = traffic
                .connection_name
                .clone()
                .unwrap_or_else(|| format!("connection {}", traffic.connection).into());
            format!(
                "{name}: {} started, {} ended",
                traffic.started, traffic.ended
            )
        }),
    )
}

/// A number of bytes, as a person reads it.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 byte"),
            bytes @ 0..1_000 => write!(f, "{bytes} bytes"),
            bytes => {
                let options = humansize::DECIMAL.decimal_places(1);
                fmt::Display::fmt(&humansize::SizeFormatter::new(bytes, options), f)
            }
        }
    }
}
