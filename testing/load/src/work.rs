//! The requests of a load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roam_diagnostic::registry::{
    self, Channel, ChannelDirection, ChannelOpen, ChannelSide, Connection, ConnectionOpen,
    ConnectionState, Direction, Outcome, Phase, Request, RequestKind, RequestStart, Role,
};

use roam_trace_common::latency::{bucket_of, units_of_ns};

use crate::log::{Log, STEPS, ThreadLog, mix, request_id};

const METHOD: u64 = 0x10ad;

/// The method of few requests.
const RARE_METHOD: u64 = 0x10ae;

/// Requests between two pauses of a millisecond.
const BATCH: u32 = 8;

/// One request out of this many opens a channel, or a connection.
const CHANNEL_EVERY: u64 = 16;
const CONNECTION_EVERY: u64 = 256;

/// The connection of all requests.
pub(crate) fn open() -> Connection {
    registry::register_method(METHOD, "Load.work");
    registry::register_method(RARE_METHOD, "Load.rare");
    open_connection("load")
}

fn open_connection(name: &str) -> Connection {
    Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: 0,
        group: Connection::NONE,
        role: Role::Initiator,
        state: ConnectionState::Open,
        observes_writes: true,
        name,
    })
}

/// Starts a request that is not logged.
pub(crate) fn start(connection: Connection, request_id: u64) -> Request {
    start_in(connection, request_id, METHOD, Direction::Outgoing)
}

/// Makes a request that is not logged, as all of them but few are, or in another way.
pub(crate) fn make(connection: Connection, request_id: u64, is_rare: bool) {
    match is_rare {
        false => start(connection, request_id).end(Outcome::Ok),
        true => start_in(connection, request_id, RARE_METHOD, Direction::Incoming)
            .end(Outcome::UserError),
    };
}

fn start_in(
    connection: Connection,
    request_id: u64,
    method_id: u64,
    direction: Direction,
) -> Request {
    let phase = match direction {
        Direction::Outgoing => Phase::Queued,
        Direction::Incoming => Phase::Received,
    };
    Request::start(&RequestStart {
        connection,
        parent: Request::NONE,
        request_id,
        method_id,
        direction,
        phase,
        kind: RequestKind::Call,
        payload_bytes: 8,
        arguments: None,
    })
}

/// Requests that never end.
pub(crate) fn hold(connection: Connection, count: u64) {
    for number in 0..count {
        start(connection, 1 << 60 | number).advance(Phase::Sent);
    }
}

/// A thread of the load, until the log says that the program is to end. With a latency, requests take that long, every
/// tenth of them ten times as long, and the log has how long they took.
pub(crate) fn run(log: &Log, connection: Connection, thread: usize, latency: Option<Duration>) {
    let own = &log.by_thread[thread];
    while log.quit.load(Ordering::Acquire) == 0 {
        let turn = log.turn.load(Ordering::Acquire);
        if turn.is_multiple_of(2) {
            own.paused.store(turn, Ordering::Release);
        } else {
            for _ in 0..BATCH {
                match latency {
                    None => request(own, connection, thread),
                    Some(latency) => timed_request(own, connection, thread, latency),
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A request that has begun, and its intermediate result.
pub(crate) struct Begun {
    request: Request,
    number: u64,
    value: u64,
}

/// Begins a request, with work in between that would show a register or a word of the stack that a tracer
/// changed.
pub(crate) fn begin(own: &ThreadLog, connection: Connection, thread: usize) -> Begun {
    let number = count(&own.start_begun);
    let id = request_id(thread, number);
    let mut value = mix(id);
    let request = start(connection, id);
    count(&own.start_done);
    value = mix(value);
    request.advance(Phase::Sent);
    value = mix(value);
    Begun {
        request,
        number,
        value,
    }
}

/// Ends a request.
pub(crate) fn finish(own: &ThreadLog, begun: &Begun) {
    count(&own.end_begun);
    begun.request.end(Outcome::Ok);
    count(&own.end_done);
    const { assert!(STEPS == 4) };
    own.result.fetch_add(mix(begun.value), Ordering::AcqRel);
}

/// A request that takes a while.
fn timed_request(own: &ThreadLog, connection: Connection, thread: usize, latency: Duration) {
    let begun = begin(own, connection, thread);
    let started = Instant::now();
    let times = if begun.number.is_multiple_of(10) {
        10
    } else {
        1
    };
    std::thread::sleep(latency * times);
    let took_ns = started.elapsed().as_nanos() as u64;
    count(&own.latencies[bucket_of(units_of_ns(took_ns))]);
    finish(own, &begun);
}

/// One request from start to end; some open a channel or a connection.
pub(crate) fn request(own: &ThreadLog, connection: Connection, thread: usize) {
    let begun = begin(own, connection, thread);
    if begun.number.is_multiple_of(CHANNEL_EVERY) {
        channel(connection, begun.request);
    }
    if begun.number.is_multiple_of(CONNECTION_EVERY) {
        let short = open_connection("short");
        short.close();
        short.release();
    }
    finish(own, &begun);
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::AcqRel)
}

fn channel(connection: Connection, request: Request) {
    let channel = Channel::open(&ChannelOpen {
        connection,
        channel_id: 1,
        request,
        direction: ChannelDirection::Tx,
        side: ChannelSide::Client,
        type_index: 0,
        receive_budget_bytes: u64::MAX,
    });
    channel.sent(100);
    channel.close();
}
