//! The model behind every dump: what one process was waiting for at one moment.
//!
//! Made from a registry here, from kernel maps by the tracer. Field names and
//! their order are the JSON schema, version [`SCHEMA_VERSION`]. Text in it is
//! printable: what a target wrote was escaped when it was decoded.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Mark, Phase, RequestKind, Role,
};
use roam_trace_common::limits::{
    ARGUMENTS_CHARS, CONNECTION_NAME_BYTES, METHOD_NAME_BYTES, TYPE_NAME_BYTES,
};
use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, FLAG_OBSERVES_WRITES, FLAG_READER_GONE, FLAG_WRITER_GONE,
    PhaseWord, RequestRecord, ResponseWord, Table,
};
use serde::{Serialize, Serializer};

use crate::read::{Image, LeftOut};
use crate::wait::{Verdict, WaitGraph};

/// Version of the JSON that [`Dump`] serializes to.
pub const SCHEMA_VERSION: u32 = 1;

/// One dump: one or several processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dump {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The processes, in the order they were asked for.
    pub processes: Vec<Snapshot>,
    /// Who waits for whom, where somebody worked it out.
    pub graph: Option<WaitGraph>,
}

/// What one process was waiting for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// The process.
    pub process: Process,
    /// Where the rows come from.
    pub source: Source,
    /// The moment that ages count back from: `CLOCK_MONOTONIC` nanoseconds of the reader's time
    /// namespace, so that times of several processes compare.
    pub taken_ns: u64,
    /// What is missing; empty when the snapshot is complete.
    pub gaps: Vec<Gap>,
    /// Requests in flight, oldest first.
    pub requests: Vec<Request>,
    /// Open channels, oldest first.
    pub channels: Vec<Channel>,
    /// Connections, oldest first.
    pub connections: Vec<Connection>,
    /// What happened while the process was watched, where it was.
    pub window: Option<Window>,
}

/// The process a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its pid, as the reader sees it.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.pid)
    }
}

/// Where a row or a whole snapshot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The process's registry.
    Registry,
    /// The kernel maps that its probes fill.
    Probes,
    /// Both, and they agree.
    Both,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registry => "registry",
            Self::Probes => "probes",
            Self::Both => "registry and probes",
        })
    }
}

/// One reason why a snapshot is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "gap", rename_all = "snake_case")]
pub enum Gap {
    /// Events that found a table of the registry full since the process started.
    TableFull {
        /// The table.
        table: &'static str,
        /// How many.
        count: u64,
    },
    /// Rows that stayed half written while they were read.
    Torn {
        /// How many.
        count: u64,
    },
    /// Rows that contradict themselves.
    Refused {
        /// How many.
        count: u64,
    },
    /// What a dump has no room for, or a reader no time.
    LeftOut {
        /// What it is.
        what: &'static str,
        /// How many.
        count: u64,
    },
    /// Anything else, in words.
    Other {
        /// What is missing and why.
        text: String,
    },
}

impl Gap {
    /// Adds it to others: counts of the same are one count.
    pub fn join(self, gaps: &mut Vec<Self>) {
        for known in gaps.iter_mut() {
            match (known, &self) {
                (
                    Self::TableFull { table: a, count },
                    Self::TableFull {
                        table: b,
                        count: more,
                    },
                )
                | (
                    Self::LeftOut { what: a, count },
                    Self::LeftOut {
                        what: b,
                        count: more,
                    },
                ) if a == b => {
                    *count = count.saturating_add(*more);
                    return;
                }
                (Self::Torn { count }, Self::Torn { count: more })
                | (Self::Refused { count }, Self::Refused { count: more }) => {
                    *count = count.saturating_add(*more);
                    return;
                }
                _ => {}
            }
        }
        gaps.push(self);
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableFull { table, count } => {
                write!(f, "{count} {table} lost (table full)")
            }
            Self::Torn { count } => write!(f, "rows that stayed half written: {count}"),
            Self::Refused { count } => write!(f, "rows that make no sense: {count}"),
            Self::LeftOut { what, count } => write!(f, "{count} {what} left out, too many to show"),
            Self::Other { text } => f.write_str(text),
        }
    }
}

/// A request in flight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// Its name within the process, never reused.
    #[serde(serialize_with = "id")]
    pub serial: u64,
    /// Where the row comes from.
    pub source: Source,
    /// Which way it goes.
    pub direction: Direction,
    /// Whether it is a call or the opening of a virtual connection.
    pub kind: RequestKind,
    /// Serial of its connection, 0 where that is not known.
    #[serde(serialize_with = "id")]
    pub connection: u64,
    /// Name of its connection.
    pub connection_name: Option<Arc<str>>,
    /// Serial of the incoming request whose handler made this call, where that is known.
    #[serde(serialize_with = "optional_id")]
    pub parent: Option<u64>,
    /// Id on the wire.
    #[serde(serialize_with = "id")]
    pub request_id: u64,
    /// Method id on the wire.
    #[serde(serialize_with = "id")]
    pub method_id: u64,
    /// `Service.method`, where the process registered it.
    pub method: Option<Arc<str>>,
    /// Arguments, where the process records them.
    pub arguments: Option<Box<str>>,
    /// How far it got.
    pub phase: Phase,
    /// Whether its driver tells when it is written.
    pub writes_observable: bool,
    /// Why it stays although nothing can come of it.
    pub mark: Option<Mark>,
    /// Microseconds since it started.
    pub age_us: u64,
    /// Microseconds since it got to `phase`.
    pub phase_age_us: u64,
    /// Payload bytes of the request.
    pub request_bytes: u64,
    /// Payload bytes of the response, where there is one.
    pub response_bytes: Option<u64>,
    /// Why it is stuck, if it is.
    pub verdict: Option<Verdict>,
}

impl Request {
    /// The method as a person reads it: its name, else its id in hex.
    pub fn method_name(&self) -> Cow<'_, str> {
        match (self.kind, &self.method) {
            (RequestKind::Connect, _) => "(connect)".into(),
            (RequestKind::Call, Some(method)) => Cow::Borrowed(method),
            (RequestKind::Call, None) => format!("method_id={:#018x}", self.method_id).into(),
        }
    }
}

/// An open channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Channel {
    /// Its name within the process, never reused.
    #[serde(serialize_with = "id")]
    pub serial: u64,
    /// Where the row comes from.
    pub source: Source,
    /// Serial of its connection.
    #[serde(serialize_with = "id")]
    pub connection: u64,
    /// Name of its connection.
    pub connection_name: Option<Arc<str>>,
    /// Id on the wire.
    #[serde(serialize_with = "id")]
    pub channel_id: u64,
    /// Serial of the request that opened it, where that is known.
    #[serde(serialize_with = "optional_id")]
    pub request: Option<u64>,
    /// That request's id on the wire, while it is in flight.
    #[serde(serialize_with = "optional_id")]
    pub request_id: Option<u64>,
    /// Which way data goes.
    pub direction: ChannelDirection,
    /// Which of the connection's registries it is in.
    pub side: ChannelSide,
    /// Element type, where it is known.
    pub element_type: Option<Arc<str>>,
    /// Microseconds since it was opened.
    pub age_us: u64,
    /// Microseconds since data last moved, where any did.
    pub idle_us: Option<u64>,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Items sent.
    pub items_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Items received.
    pub items_received: u64,
    /// Received items that the program has read; not known from probes.
    pub items_read: Option<u64>,
    /// Payload bytes the peer may still send; `null` for no limit.
    pub receive_budget_bytes: Option<u64>,
    /// Whether the receiving end is known to be gone.
    pub reader_gone: bool,
    /// Whether the sending end is known to be gone.
    pub writer_gone: bool,
    /// Why it is stuck, if it is known to be.
    pub verdict: Option<Verdict>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Connection {
    /// Its name within the process, never reused.
    #[serde(serialize_with = "id")]
    pub serial: u64,
    /// Where the row comes from.
    pub source: Source,
    /// Serial of the link's root connection.
    #[serde(serialize_with = "id")]
    pub link: u64,
    /// Id on the wire.
    #[serde(serialize_with = "id")]
    pub conn_id: u64,
    /// Name.
    pub name: Arc<str>,
    /// Which end of the link the process is.
    pub role: Role,
    /// What it is doing.
    pub state: ConnectionState,
    /// Microseconds since it got to `state`.
    pub state_age_us: u64,
    /// Attempts to connect that failed so far.
    pub attempts: u32,
    /// Microseconds since it was opened.
    pub age_us: u64,
    /// What it sent; not known from probes.
    pub sent: Option<Traffic>,
    /// What it received; not known from probes.
    pub received: Option<Traffic>,
    /// The channel that the driver waits to deliver to, and nothing else moves meanwhile.
    pub delivering: Option<Delivering>,
    /// The driver of the link, in the root's row; not known from probes, nor of drivers that do not tell.
    pub driver: Option<Driver>,
    /// Why it is stuck, if it is.
    pub verdict: Option<Verdict>,
}

/// What the driver of a link last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// Microseconds since it came round its loop.
    pub polled_age_us: u64,
    /// Microseconds since it began the write to the transport that it is in.
    pub writing_us: Option<u64>,
    /// Messages put into its queue.
    pub enqueued: u64,
    /// Messages that it took out.
    pub dequeued: u64,
}

/// Messages in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Microseconds since the last one.
    pub idle_us: Option<u64>,
}

/// A delivery that waits for a full buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Delivering {
    /// The channel.
    #[serde(serialize_with = "id")]
    pub channel_id: u64,
    /// Microseconds since it waits.
    pub waiting_us: u64,
}

/// What happened while a process was watched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Window {
    /// How long that was, in microseconds.
    pub duration_us: u64,
    /// Per connection.
    pub connections: Vec<WindowTraffic>,
}

/// Requests of one connection that started and ended while it was watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowTraffic {
    /// Serial of the connection.
    #[serde(serialize_with = "id")]
    pub connection: u64,
    /// Name of the connection.
    pub connection_name: Option<Arc<str>>,
    /// Requests that started.
    pub started: u64,
    /// Requests that ended.
    pub ended: u64,
}

/// The largest integer that every JSON reader keeps exact.
const MAX_EXACT: u64 = 1 << 53;

pub(crate) fn id<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if *value <= MAX_EXACT {
        serializer.serialize_u64(*value)
    } else {
        serializer.collect_str(value)
    }
}

fn optional_id<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => id(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Names that a registry holds, printable.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// By method id.
    pub methods: HashMap<u64, Arc<str>>,
    /// By slot.
    pub types: Vec<Arc<str>>,
    /// Connection names by serial.
    pub connections: HashMap<u64, Arc<str>>,
}

impl Names {
    /// The names of a registry.
    pub fn of(image: &Image) -> Self {
        Self {
            methods: image
                .methods
                .iter()
                .map(|(&id, name)| (id, printable_within(name, METHOD_NAME_BYTES).into()))
                .collect(),
            types: image
                .types
                .iter()
                .map(|name| printable_within(name, TYPE_NAME_BYTES).into())
                .collect(),
            connections: image
                .connections
                .values()
                .map(|row| {
                    let bytes = (row.name_bytes as usize).min(row.name.len());
                    let name = printable_within(&row.name[..bytes], CONNECTION_NAME_BYTES);
                    (row.serial, name.into())
                })
                .collect(),
        }
    }

    /// The element type behind a channel's type index.
    pub fn element_type(&self, type_index: u32) -> Option<Arc<str>> {
        let slot = type_index.checked_sub(1)?;
        self.types.get(slot as usize).cloned()
    }
}

impl Snapshot {
    /// The snapshot of a process by its registry, as of `now_ns` on the clock of the registry. Where that
    /// is another time namespace than the reader's, `taken_ns` is left for the reader to shift.
    ///
    /// Rows with codes that this version does not know are left out and counted.
    ///
    /// Takes the requests, their arguments and the channels out of the image: there may be more of them
    /// than there is room for twice.
    pub fn from_registry(process: Process, image: &mut Image, now_ns: u64) -> Self {
        let names = Names::of(image);
        let rows = std::mem::take(&mut image.requests);
        let mut arguments = std::mem::take(&mut image.arguments);
        let channels = std::mem::take(&mut image.channels);
        let decoder = Decoder {
            names: &names,
            connections: &image.connections,
            now_ns,
        };
        let mut refused = image.refused;
        let mut keep = |row: Option<_>| {
            refused += u64::from(row.is_none());
            row
        };
        // There may be a hundred thousand: no room for more than them is taken.
        let mut requests = Vec::with_capacity(rows.len());
        drain(rows, |row| {
            let text = arguments.remove(&row.serial);
            requests.extend(keep(decoder.request(row, text)));
        });
        let owners: HashSet<u64> = channels.iter().map(|row| row.request).collect();
        let request_ids: HashMap<u64, u64> = requests
            .iter()
            .filter(|request| owners.contains(&request.serial))
            .map(|request| (request.serial, request.request_id))
            .collect();
        let channel_rows: Vec<_> = channels
            .iter()
            .map(|row| decoder.channel(row, &request_ids))
            .collect();
        let connection_rows: Vec<_> = image
            .connections
            .values()
            .filter(|row| row.state != ConnectionState::Grouping.code())
            .map(|row| decoder.connection(row))
            .collect();
        refused += channel_rows.iter().filter(|row| row.is_none()).count() as u64;
        refused += connection_rows.iter().filter(|row| row.is_none()).count() as u64;

        let mut snapshot = Self {
            process,
            source: Source::Registry,
            taken_ns: now_ns,
            gaps: gaps(image, refused),
            requests,
            channels: channel_rows.into_iter().flatten().collect(),
            connections: connection_rows.into_iter().flatten().collect(),
            window: None,
        };
        snapshot.sort();
        snapshot
    }

    /// Puts every list in its order: oldest first, then by serial.
    pub fn sort(&mut self) {
        use std::cmp::Reverse;
        self.requests
            .sort_unstable_by_key(|row| (Reverse(row.age_us), row.serial));
        self.channels
            .sort_unstable_by_key(|row| (Reverse(row.age_us), row.serial));
        self.connections
            .sort_unstable_by_key(|row| (Reverse(row.age_us), row.serial));
    }

    /// Leaves out requests and channels younger than `min_age_us`.
    pub fn retain_older(&mut self, min_age_us: u64) {
        self.requests.retain(|row| row.age_us >= min_age_us);
        self.channels.retain(|row| row.age_us >= min_age_us);
    }
}

/// Gives out rows one by one, and their memory with them.
fn drain<R>(mut rows: Vec<R>, mut take: impl FnMut(&R)) {
    const PARTS: usize = 8;
    let part = rows.len().div_ceil(PARTS).max(1);
    while let Some(row) = rows.pop() {
        take(&row);
        if rows.len().is_multiple_of(part) {
            rows.shrink_to_fit();
        }
    }
}

impl LeftOut {
    /// What is missing, in words.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        [
            ("younger requests", self.requests),
            ("younger channels", self.channels),
            ("connections", self.connections),
            ("names", self.names),
            ("arguments", self.arguments),
            ("slots", self.slots),
        ]
        .into_iter()
        .filter(|&(_, count)| count > 0)
        .map(|(what, count)| Gap::LeftOut { what, count })
    }
}

fn gaps(image: &Image, refused: u64) -> Vec<Gap> {
    let tables = [
        (Table::Requests, "requests"),
        (Table::Channels, "channels"),
        (Table::Connections, "connections"),
        (Table::Methods, "method names"),
        (Table::Types, "type names"),
    ];
    let mut gaps: Vec<_> = tables
        .into_iter()
        .map(|(table, name)| (name, image.lost(table)))
        .filter(|&(_, count)| count > 0)
        .map(|(table, count)| Gap::TableFull { table, count })
        .collect();
    gaps.extend(image.left_out.gaps());
    if image.torn > 0 {
        gaps.push(Gap::Torn { count: image.torn });
    }
    if refused > 0 {
        gaps.push(Gap::Refused { count: refused });
    }
    gaps
}

struct Decoder<'a> {
    names: &'a Names,
    connections: &'a BTreeMap<u64, ConnectionRecord>,
    now_ns: u64,
}

impl Decoder<'_> {
    fn since_us(&self, time_ns: u64) -> u64 {
        self.now_ns.saturating_sub(time_ns) / 1_000
    }

    fn since_some_us(&self, time_ns: u64) -> Option<u64> {
        (time_ns != 0).then(|| self.since_us(time_ns))
    }

    fn request(&self, row: &RequestRecord, arguments: Option<Vec<u8>>) -> Option<Request> {
        let phase_word = PhaseWord(row.phase);
        let response = ResponseWord(row.response);
        let age_us = self.since_us(row.started_ns);
        let connection = self.connections.get(&row.connection);
        Some(Request {
            serial: row.serial,
            source: Source::Registry,
            direction: Direction::from_code(row.direction)?,
            kind: RequestKind::from_code(row.kind)?,
            connection: row.connection,
            connection_name: self.names.connections.get(&row.connection).cloned(),
            parent: (row.parent != 0).then_some(row.parent),
            request_id: row.request_id,
            method_id: row.method_id,
            method: self.names.methods.get(&row.method_id).cloned(),
            arguments: arguments.map(|text| printable_within(&text, ARGUMENTS_CHARS).into()),
            phase: Phase::from_code(phase_word.phase())?,
            writes_observable: connection.is_some_and(|row| row.flags & FLAG_OBSERVES_WRITES != 0),
            mark: match phase_word.mark() {
                0 => None,
                code => Some(Mark::from_code(code)?),
            },
            age_us,
            phase_age_us: age_us.saturating_sub(phase_word.elapsed_us()),
            request_bytes: row.request_bytes,
            response_bytes: (response.outcome() != 0).then(|| response.bytes()),
            verdict: None,
        })
    }

    fn channel(&self, row: &ChannelRecord, request_ids: &HashMap<u64, u64>) -> Option<Channel> {
        Some(Channel {
            serial: row.serial,
            source: Source::Registry,
            connection: row.connection,
            connection_name: self.names.connections.get(&row.connection).cloned(),
            channel_id: row.channel_id,
            request: (row.request != 0).then_some(row.request),
            request_id: request_ids.get(&row.request).copied(),
            direction: ChannelDirection::from_code(row.direction)?,
            side: ChannelSide::from_code(row.side)?,
            element_type: self.names.element_type(row.type_index),
            age_us: self.since_us(row.opened_ns),
            idle_us: self.since_some_us(row.last_activity_ns),
            bytes_sent: row.bytes_sent,
            items_sent: row.items_sent,
            bytes_received: row.bytes_received,
            items_received: row.items_received,
            items_read: Some(row.items_read),
            receive_budget_bytes: (row.receive_budget_bytes != u64::MAX)
                .then_some(row.receive_budget_bytes),
            reader_gone: row.flags & FLAG_READER_GONE != 0,
            writer_gone: row.flags & FLAG_WRITER_GONE != 0,
            verdict: None,
        })
    }

    fn connection(&self, row: &ConnectionRecord) -> Option<Connection> {
        Some(Connection {
            serial: row.serial,
            source: Source::Registry,
            link: row.link,
            conn_id: row.conn_id,
            name: self
                .names
                .connections
                .get(&row.serial)
                .cloned()
                .unwrap_or_else(|| "".into()),
            role: Role::from_code(row.role)?,
            state: ConnectionState::from_code(row.state)?,
            state_age_us: self.since_us(row.state_ns),
            attempts: row.attempts,
            age_us: self.since_us(row.opened_ns),
            sent: Some(Traffic {
                messages: row.messages_sent,
                payload_bytes: row.bytes_sent,
                idle_us: self.since_some_us(row.last_sent_ns),
            }),
            received: Some(Traffic {
                messages: row.messages_received,
                payload_bytes: row.bytes_received,
                idle_us: self.since_some_us(row.last_received_ns),
            }),
            delivering: self
                .since_some_us(row.delivering_since_ns)
                .map(|waiting_us| Delivering {
                    channel_id: row.delivering_channel,
                    waiting_us,
                }),
            driver: self
                .since_some_us(row.polled_ns)
                .map(|polled_age_us| Driver {
                    polled_age_us,
                    writing_us: self.since_some_us(row.writing_since_ns),
                    enqueued: row.enqueued,
                    dequeued: row.dequeued,
                }),
            verdict: None,
        })
    }
}

/// Text from another process as it may reach a terminal: what is not UTF-8 is replaced, and control
/// characters, line breaks and characters that change the direction of writing are escaped.
pub fn printable(bytes: &[u8]) -> String {
    printable_within(bytes, usize::MAX)
}

/// As [`printable`], cut at so many characters: an escape takes up to ten, and what a program writes to be read
/// by people has none.
fn printable_within(bytes: &[u8], characters: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut escaped = text.chars().flat_map(|character| {
        let is_quote = matches!(character, '"' | '\'');
        let escaped = (!is_quote).then(|| character.escape_debug());
        is_quote
            .then_some(character)
            .into_iter()
            .chain(escaped.into_iter().flatten())
    });
    let mut printable = String::with_capacity(bytes.len());
    printable.extend(escaped.by_ref().take(characters));
    if escaped.next().is_some() {
        printable.push('…');
    }
    printable
}
