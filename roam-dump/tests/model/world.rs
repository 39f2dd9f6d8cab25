//! The model: what was reported, in maps from serials to rows, beside the registry that it was reported to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use proptest::sample::Index;
use roam_diagnostic::clock::now_ns;
use roam_diagnostic::registry::{
    Channel, ChannelOpen, Connection, ConnectionOpen, ConnectionState, Outcome, Request,
    RequestKind, RequestStart, own, register_method, register_type,
};
use roam_dump::read::{Image, read_own};
use roam_trace_common::Serial;
use roam_trace_common::limits::{
    ARGUMENTS_CHARS, CONNECTION_NAME_BYTES, ERROR_BYTES, METHOD_NAME_BYTES, TYPE_NAME_BYTES,
};
use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, FLAG_OBSERVES_WRITES, FLAG_READER_GONE, FLAG_WRITER_GONE,
    OUTCOMES, PhaseWord, RequestRecord, ResponseWord, StatisticsRecord, Table,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::REQUESTS;
use crate::step::{
    ChannelEvent, ConnectionEvent, Event, NewChannel, NewConnection, NewRequest, RequestEvent,
    Step, THREADS,
};

/// A request row but for its times.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RequestRow {
    connection: u64,
    request_id: u64,
    method_id: u64,
    phase: u32,
    mark: u32,
    outcome: u32,
    response_bytes: u64,
    request_bytes: u64,
    parent: u64,
    direction: u32,
    kind: u32,
    arguments: Option<String>,
}

/// A connection row; of its times, whether they are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ConnectionRow {
    link: u64,
    conn_id: u64,
    group: u64,
    messages_sent: u64,
    bytes_sent: u64,
    messages_received: u64,
    bytes_received: u64,
    delivering: Option<u64>,
    was_polled: bool,
    is_writing: bool,
    enqueued: u64,
    dequeued: u64,
    role: u32,
    state: u32,
    flags: u32,
    attempts: u32,
    name: String,
    error: String,
    losses: u32,
    transport: Option<(u64, u32)>,
}

/// A channel row; of its times, whether they are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ChannelRow {
    connection: u64,
    request: u64,
    channel_id: u64,
    is_active: bool,
    bytes_sent: u64,
    items_sent: u64,
    bytes_received: u64,
    items_received: u64,
    items_read: u64,
    receive_budget_bytes: u64,
    direction: u32,
    side: u32,
    type_index: u32,
    flags: u32,
}

/// What outlives the rows, and so the cases: one process has one registry.
#[derive(Default)]
struct Forever {
    /// Every serial there ever was, by table.
    serials: HashSet<(usize, u64)>,
    /// Requests that found the table full.
    lost: u64,
    methods: HashMap<u64, String>,
    types: BTreeMap<usize, (u32, String)>,
    /// Calls that ended, by method and direction.
    ended: HashMap<(u64, u32), Ended>,
}

/// Calls of a method that ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ended {
    /// By code less one.
    outcomes: [u64; OUTCOMES],
    request_bytes: u64,
    response_bytes: u64,
}

impl Ended {
    fn count(&mut self, row: &RequestRow, outcome: Outcome) {
        self.outcomes[outcome.code() as usize - 1] += 1;
        self.request_bytes = self.request_bytes.wrapping_add(row.request_bytes);
        self.response_bytes += row.response_bytes;
    }
}

static FOREVER: LazyLock<Mutex<Forever>> = LazyLock::new(|| {
    // SAFETY: the test's threads are not started yet, and the harness does not look at its environment.
    unsafe { std::env::set_var("ROAM_DIAGNOSTIC_REQUESTS", REQUESTS.to_string()) };
    Mutex::default()
});

type Job = Box<dyn FnOnce() + Send>;

/// Each takes its slots from a free list of its own.
static REPORTERS: LazyLock<Vec<Sender<Job>>> = LazyLock::new(|| {
    let reporter = || {
        let (jobs, queue) = channel::<Job>();
        thread::spawn(move || queue.into_iter().for_each(|job| job()));
        jobs
    };
    std::iter::repeat_with(reporter).take(THREADS).collect()
});

const DEADLINE: Duration = Duration::from_secs(20);

/// Has a thread do something, and waits for what comes of it.
fn on<T: Send + 'static>(thread: usize, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (answer, result) = channel();
    let job = Box::new(move || answer.send(act()).unwrap());
    REPORTERS[thread].send(job).unwrap();
    result.recv_timeout(DEADLINE).unwrap()
}

fn forever<T>(act: impl FnOnce(&mut Forever) -> T) -> T {
    act(&mut FOREVER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One case: everything that is open, and requests that have ended.
pub(crate) struct World {
    began_ns: u64,
    connections: Vec<(Connection, ConnectionRow)>,
    /// Handles stay behind when a request ends.
    requests: Vec<Request>,
    in_flight: HashMap<u64, RequestRow>,
    channels: Vec<(Channel, ChannelRow)>,
}

impl World {
    pub(crate) fn new() -> Self {
        LazyLock::force(&FOREVER);
        Self {
            began_ns: now_ns(),
            connections: Vec::new(),
            requests: Vec::new(),
            in_flight: HashMap::new(),
            channels: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, Step { thread, event }: Step) {
        match event {
            Event::OpenConnection(new) => self.open_connection(thread, new),
            Event::Connection(at, event) => {
                if !self.connections.is_empty() {
                    self.change_connection(thread, at.index(self.connections.len()), event);
                }
            }
            Event::StartRequest(new) => self.start_request(thread, new),
            Event::Request(at, event) => {
                if !self.requests.is_empty() {
                    self.change_request(thread, *at.get(&self.requests), event);
                }
            }
            Event::OpenChannel(new) => self.open_channel(thread, &new),
            Event::Channel(at, event) => {
                if !self.channels.is_empty() {
                    self.change_channel(thread, at.index(self.channels.len()), event);
                }
            }
            Event::NameMethod(id, name) => {
                forever(|forever| {
                    let kept = cut_bytes(&name, METHOD_NAME_BYTES);
                    forever.methods.insert(id, kept);
                });
                on(thread, move || register_method(id, &name));
            }
            Event::NameType(key, name) => {
                let kept = cut_bytes(&name, TYPE_NAME_BYTES);
                let index = on(thread, move || register_type(key, || name));
                forever(|forever| {
                    let next = forever.types.len() as u32 + 1;
                    let known = forever.types.entry(key).or_insert((next, kept));
                    assert_eq!(index, known.0);
                });
            }
            Event::Check => self.check(),
        }
    }

    fn connection(&self, at: Option<Index>) -> Connection {
        match at {
            Some(at) if !self.connections.is_empty() => at.get(&self.connections).0,
            _ => Connection::NONE,
        }
    }

    fn request(&self, at: Option<Index>) -> Request {
        match at {
            Some(at) if !self.requests.is_empty() => *at.get(&self.requests),
            _ => Request::NONE,
        }
    }

    fn open_connection(&mut self, thread: usize, new: NewConnection) {
        let (link, group) = (self.connection(new.link), self.connection(new.group));
        let mut row = ConnectionRow {
            link: link.serial().0,
            conn_id: new.conn_id,
            group: group.serial().0,
            role: new.role.code(),
            state: new.state.code(),
            flags: if new.observes_writes {
                FLAG_OBSERVES_WRITES
            } else {
                0
            },
            name: cut_bytes(&new.name, CONNECTION_NAME_BYTES),
            ..ConnectionRow::default()
        };
        let connection = on(thread, move || {
            Connection::open(&ConnectionOpen {
                link,
                conn_id: new.conn_id,
                group,
                role: new.role,
                state: new.state,
                observes_writes: new.observes_writes,
                name: &new.name,
            })
        });
        assert_new(Table::Connections, connection.serial());
        if row.link == 0 {
            row.link = connection.serial().0;
        }
        self.connections.push((connection, row));
    }

    fn change_connection(&mut self, thread: usize, at: usize, event: ConnectionEvent) {
        let (connection, row) = &mut self.connections[at];
        let connection = *connection;
        let mut is_released = false;
        match &event {
            ConnectionEvent::Rename(name) => row.name = cut_bytes(name, CONNECTION_NAME_BYTES),
            ConnectionEvent::Error(error) => row.error = cut_bytes(error, ERROR_BYTES),
            ConnectionEvent::Losses(losses) => row.losses = *losses,
            ConnectionEvent::Transport(transport) => row.transport = *transport,
            ConnectionEvent::State(state, attempts) => {
                (row.state, row.attempts) = (state.code(), *attempts);
            }
            ConnectionEvent::Sent(bytes) => {
                row.messages_sent += 1;
                row.bytes_sent += bytes;
            }
            ConnectionEvent::Received(bytes) => {
                row.messages_received += 1;
                row.bytes_received += bytes;
            }
            ConnectionEvent::Delivering(channel) => row.delivering = *channel,
            ConnectionEvent::Polled => row.was_polled = true,
            ConnectionEvent::Writing(is_writing) => row.is_writing = *is_writing,
            ConnectionEvent::Enqueued => row.enqueued += 1,
            ConnectionEvent::Dequeued => row.dequeued += 1,
            ConnectionEvent::Close => {
                (row.state, row.attempts) = (ConnectionState::Closed.code(), 0);
                (row.delivering, row.is_writing) = (None, false);
            }
            ConnectionEvent::Release => is_released = true,
        }
        if is_released {
            self.connections.swap_remove(at);
        }
        on(thread, move || match event {
            ConnectionEvent::Rename(name) => connection.set_name(&name),
            ConnectionEvent::Error(error) => connection.set_error(&error),
            ConnectionEvent::Losses(losses) => connection.set_losses(losses),
            ConnectionEvent::Transport(transport) => connection.set_transport(transport),
            ConnectionEvent::State(state, attempts) => connection.set_state(state, attempts),
            ConnectionEvent::Sent(bytes) => connection.message_sent(bytes, now_ns()),
            ConnectionEvent::Received(bytes) => connection.message_received(bytes, now_ns()),
            ConnectionEvent::Delivering(channel) => connection.set_delivering(channel),
            ConnectionEvent::Polled => connection.driver_polled(now_ns()),
            ConnectionEvent::Writing(is_writing) => connection.set_writing(is_writing),
            ConnectionEvent::Enqueued => connection.enqueued(),
            ConnectionEvent::Dequeued => connection.dequeued(),
            ConnectionEvent::Close => connection.close(),
            ConnectionEvent::Release => connection.release(),
        });
    }

    fn start_request(&mut self, thread: usize, new: NewRequest) {
        let connection = self.connection(new.connection);
        let parent = self.request(new.parent);
        let row = RequestRow {
            connection: connection.serial().0,
            request_id: new.request_id,
            method_id: new.method_id,
            phase: new.phase.code(),
            mark: 0,
            outcome: 0,
            response_bytes: 0,
            request_bytes: new.payload_bytes,
            parent: parent.serial().0,
            direction: new.direction.code(),
            kind: new.kind.code(),
            arguments: new.arguments.as_deref().and_then(kept_arguments),
        };
        let request = on(thread, move || {
            Request::start(&RequestStart {
                connection,
                request_id: new.request_id,
                method_id: new.method_id,
                direction: new.direction,
                phase: new.phase,
                kind: new.kind,
                payload_bytes: new.payload_bytes,
                arguments: new.arguments.as_deref(),
                parent,
            })
        });
        if self.in_flight.len() == REQUESTS {
            assert_eq!(request, Request::NONE);
            forever(|forever| forever.lost += 1);
        } else {
            assert_new(Table::Requests, request.serial());
            self.in_flight.insert(request.serial().0, row);
            self.requests.push(request);
        }
    }

    /// A request that has ended must not change, nor what stands in its slot by now.
    fn change_request(&mut self, thread: usize, request: Request, event: RequestEvent) {
        let serial = request.serial().0;
        let connection = match &event {
            RequestEvent::SetConnection(at) => self.connection(Some(*at)),
            _ => Connection::NONE,
        };
        let row = self.in_flight.get_mut(&serial);
        let is_in_flight = row.is_some();
        assert_eq!(on(thread, move || request.is_live()), is_in_flight);
        let mut ended_with = None;
        if let Some(row) = row {
            match &event {
                RequestEvent::Advance(phase) => row.phase = row.phase.max(phase.code()),
                RequestEvent::Respond(phase, outcome, bytes) => {
                    row.phase = row.phase.max(phase.code());
                    row.outcome = outcome.code();
                    row.response_bytes = (*bytes).min(u32::MAX.into());
                }
                RequestEvent::Mark(mark) => row.mark = mark.code(),
                RequestEvent::SetConnection(_) => row.connection = connection.serial().0,
                RequestEvent::End(outcome) => ended_with = Some(*outcome),
                RequestEvent::EndAsResponded(otherwise) => {
                    let responded = Outcome::from_code(row.outcome);
                    ended_with = Some(responded.unwrap_or(*otherwise));
                }
            }
        }
        let says_ended = on(thread, move || match event {
            RequestEvent::Advance(phase) => {
                request.advance(phase);
                false
            }
            RequestEvent::Respond(phase, outcome, bytes) => {
                request.respond(phase, outcome, bytes);
                false
            }
            RequestEvent::Mark(mark) => {
                request.mark(mark);
                false
            }
            RequestEvent::SetConnection(_) => {
                request.set_connection(connection);
                false
            }
            RequestEvent::End(outcome) => request.end(outcome),
            RequestEvent::EndAsResponded(otherwise) => request.end_as_responded(otherwise),
        });
        assert_eq!(says_ended, ended_with.is_some());
        if let Some(outcome) = ended_with {
            self.count_end(serial, outcome);
        }
    }

    fn count_end(&mut self, serial: u64, outcome: Outcome) {
        let row = self.in_flight.remove(&serial).unwrap();
        if row.kind == RequestKind::Call.code() {
            forever(|forever| {
                let key = (row.method_id, row.direction);
                forever.ended.entry(key).or_default().count(&row, outcome);
            });
        }
    }

    fn open_channel(&mut self, thread: usize, new: &NewChannel) {
        let open = ChannelOpen {
            connection: self.connection(new.connection),
            channel_id: new.channel_id,
            request: self.request(new.request),
            direction: new.direction,
            side: new.side,
            type_index: new.type_index,
            receive_budget_bytes: new.receive_budget_bytes,
        };
        let row = ChannelRow {
            connection: open.connection.serial().0,
            request: open.request.serial().0,
            channel_id: new.channel_id,
            receive_budget_bytes: new.receive_budget_bytes,
            direction: new.direction.code(),
            side: new.side.code(),
            type_index: new.type_index,
            ..ChannelRow::default()
        };
        let channel = on(thread, move || Channel::open(&open));
        assert_new(Table::Channels, channel.serial());
        self.channels.push((channel, row));
    }

    fn change_channel(&mut self, thread: usize, at: usize, event: ChannelEvent) {
        let request = match &event {
            ChannelEvent::SetRequest(at) => self.request(Some(*at)),
            _ => Request::NONE,
        };
        let (channel, row) = &mut self.channels[at];
        let channel = *channel;
        match &event {
            ChannelEvent::Sent(bytes) => {
                row.items_sent += 1;
                row.bytes_sent += bytes;
                row.is_active = true;
            }
            ChannelEvent::Received(bytes, budget) => {
                row.items_received += 1;
                row.bytes_received += bytes;
                row.receive_budget_bytes = *budget;
                row.is_active = true;
            }
            ChannelEvent::Read => row.items_read += 1,
            ChannelEvent::ReaderGone => row.flags |= FLAG_READER_GONE,
            ChannelEvent::WriterGone => row.flags |= FLAG_WRITER_GONE,
            ChannelEvent::SetRequest(_) => row.request = request.serial().0,
            ChannelEvent::SetType(index) => row.type_index = *index,
            ChannelEvent::Close => {
                self.channels.swap_remove(at);
            }
        }
        on(thread, move || match event {
            ChannelEvent::Sent(bytes) => channel.sent(bytes),
            ChannelEvent::Received(bytes, budget) => channel.received(bytes, budget),
            ChannelEvent::Read => channel.read(),
            ChannelEvent::ReaderGone => channel.reader_gone(),
            ChannelEvent::WriterGone => channel.writer_gone(),
            ChannelEvent::SetRequest(_) => channel.set_request(request),
            ChannelEvent::SetType(index) => channel.set_type(index),
            ChannelEvent::Close => channel.close(),
        });
    }

    /// The registry holds these rows and no other.
    pub(crate) fn check(&self) {
        let Some(image) = read_own() else {
            assert!(self.connections.is_empty() && self.requests.is_empty());
            return;
        };
        let image = image.unwrap();
        assert_eq!((image.torn, image.invalid), (0, 0));
        let requests: HashMap<_, _> = image
            .requests
            .iter()
            .map(|row| {
                let arguments = image.arguments.get(&row.serial).map(Vec::as_slice);
                (row.serial, self.request_row(row, arguments))
            })
            .collect();
        assert_eq!(requests.len(), image.requests.len());
        assert_eq!(requests, self.in_flight);
        let connections: HashMap<_, _> = image.connections.values().map(connection_row).collect();
        assert_eq!(
            connections,
            by_serial(&self.connections, Connection::serial)
        );
        let channels: HashMap<_, _> = image.channels.iter().map(channel_row).collect();
        assert_eq!(channels.len(), image.channels.len());
        assert_eq!(channels, by_serial(&self.channels, Channel::serial));
        forever(|forever| {
            check_names(&image, forever);
            assert_eq!(ended(&image), forever.ended);
        });
        check_own_rows(&image);
    }

    fn request_row(&self, row: &RequestRecord, arguments: Option<&[u8]>) -> RequestRow {
        let generation = Serial(row.serial).generation();
        let (phase, response) = (PhaseWord(row.phase), ResponseWord(row.response));
        assert!(phase.is_of(generation));
        let response_bytes = match phase.outcome() {
            0 => 0,
            _ => {
                assert!(response.is_of(generation));
                response.bytes()
            }
        };
        let reached_ns = row.started_ns + phase.elapsed_us() * 1_000;
        assert!(self.began_ns <= row.started_ns && reached_ns <= now_ns());
        RequestRow {
            connection: row.connection,
            request_id: row.request_id,
            method_id: row.method_id,
            phase: phase.phase(),
            mark: phase.mark(),
            outcome: phase.outcome(),
            response_bytes,
            request_bytes: row.request_bytes,
            parent: row.parent,
            direction: row.direction,
            kind: row.kind,
            arguments: arguments.map(text),
        }
    }
}

impl Drop for World {
    /// Leaves nothing behind for the next case.
    fn drop(&mut self) {
        for request in std::mem::take(&mut self.requests) {
            if request.end(Outcome::Ok) {
                self.count_end(request.serial().0, Outcome::Ok);
            }
        }
        for (channel, _) in &self.channels {
            channel.close();
        }
        for (connection, _) in &self.connections {
            connection.release();
        }
    }
}

fn assert_new(table: Table, serial: Serial) {
    assert!(!serial.is_none());
    let is_new = forever(|forever| forever.serials.insert((table as usize, serial.0)));
    assert!(is_new, "{serial:?} was given twice");
}

fn check_names(image: &Image, forever: &Forever) {
    assert_eq!(image.lost(Table::Requests), forever.lost);
    let methods: HashMap<_, _> = image
        .methods
        .iter()
        .map(|(&id, name)| (id, text(name)))
        .collect();
    assert_eq!(methods, forever.methods);
    let types: Vec<_> = image.types.iter().map(|name| text(name)).collect();
    let mut expected: Vec<_> = forever.types.values().cloned().collect();
    expected.sort_unstable();
    assert_eq!(
        types,
        expected
            .into_iter()
            .map(|(_, name)| name)
            .collect::<Vec<_>>()
    );
}

/// What the rows of all threads say of calls that ended.
fn ended(image: &Image) -> HashMap<(u64, u32), Ended> {
    let table = image.header.tables[Table::Statistics as usize];
    assert_eq!(table.lost, 0);
    let mut sums = HashMap::<_, Ended>::new();
    for index in 0..table.high_water.into() {
        let mut bytes = [0; size_of::<StatisticsRecord>()];
        let offset = table.offset + index * bytes.len() as u64;
        own::region().unwrap().copy_to(offset, &mut bytes);
        let row = StatisticsRecord::read_from_bytes(&bytes).unwrap();
        assert_eq!(row.sequence, 2);
        let answered = row.outcomes[0] + row.outcomes[1];
        assert_eq!(row.buckets.iter().sum::<u64>(), answered);
        assert!(row.last_ended_ns <= now_ns());
        let sum = sums.entry((row.method_id, row.direction)).or_default();
        for (sum, count) in sum.outcomes.iter_mut().zip(row.outcomes) {
            *sum += count;
        }
        sum.request_bytes = sum.request_bytes.wrapping_add(row.request_bytes);
        sum.response_bytes += row.response_bytes;
    }
    sums
}

/// The process's own copies of its rows are what a reader finds.
fn check_own_rows(image: &Image) {
    fn sorted<'a, R: IntoBytes + Immutable + 'a>(
        rows: impl IntoIterator<Item = &'a R>,
    ) -> Vec<&'a [u8]> {
        let mut rows: Vec<_> = rows.into_iter().map(IntoBytes::as_bytes).collect();
        rows.sort_unstable();
        rows
    }
    let own = own::rows();
    assert_eq!(sorted(&own.connections), sorted(image.connections.values()));
    assert_eq!(sorted(&own.requests), sorted(&image.requests));
    assert_eq!(sorted(&own.channels), sorted(&image.channels));
    for row in &own.requests {
        let arguments = image.arguments.get(&row.serial).map(|bytes| text(bytes));
        assert_eq!(own::arguments(row), arguments);
    }
}

fn connection_row(row: &ConnectionRecord) -> (u64, ConnectionRow) {
    assert_eq!(row.messages_sent == 0, row.last_sent_ns == 0);
    assert_eq!(row.messages_received == 0, row.last_received_ns == 0);
    let now_ns = now_ns();
    assert!(row.opened_ns <= row.state_ns && row.state_ns <= now_ns);
    let seen = ConnectionRow {
        link: row.link,
        conn_id: row.conn_id,
        group: row.group,
        messages_sent: row.messages_sent,
        bytes_sent: row.bytes_sent,
        messages_received: row.messages_received,
        bytes_received: row.bytes_received,
        delivering: (row.delivering_since_ns != 0).then_some(row.delivering_channel),
        was_polled: row.polled_ns != 0,
        is_writing: row.writing_since_ns != 0,
        enqueued: row.enqueued,
        dequeued: row.dequeued,
        role: row.role,
        state: row.state,
        flags: row.flags,
        attempts: row.attempts,
        error: text(&row.error[..row.error_bytes as usize]),
        losses: row.losses,
        transport: (row.transport_address != 0)
            .then_some((row.transport_address, row.transport_bytes)),
        name: text(&row.name[..row.name_bytes as usize]),
    };
    (row.serial, seen)
}

fn channel_row(row: &ChannelRecord) -> (u64, ChannelRow) {
    let seen = ChannelRow {
        connection: row.connection,
        request: row.request,
        channel_id: row.channel_id,
        is_active: row.last_activity_ns != 0,
        bytes_sent: row.bytes_sent,
        items_sent: row.items_sent,
        bytes_received: row.bytes_received,
        items_received: row.items_received,
        items_read: row.items_read,
        receive_budget_bytes: row.receive_budget_bytes,
        direction: row.direction,
        side: row.side,
        type_index: row.type_index,
        flags: row.flags,
    };
    (row.serial, seen)
}

fn by_serial<H: Copy, R: Clone>(rows: &[(H, R)], serial: fn(H) -> Serial) -> HashMap<u64, R> {
    rows.iter()
        .map(|(handle, row)| (serial(*handle).0, row.clone()))
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The longest beginning of a text that fits.
fn cut_bytes(text: &str, bytes: usize) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        if kept.len() + character.len_utf8() > bytes {
            break;
        }
        kept.push(character);
    }
    kept
}

fn kept_arguments(arguments: &str) -> Option<String> {
    let mut kept: Vec<char> = arguments.chars().collect();
    if kept.len() > ARGUMENTS_CHARS {
        kept.truncate(ARGUMENTS_CHARS - 1);
        kept.push('…');
    }
    (!kept.is_empty()).then(|| kept.into_iter().collect())
}
