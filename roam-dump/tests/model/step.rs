//! What a program may report, as values that can be generated and shrunk.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use roam_diagnostic::registry::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Mark, Outcome, Phase, RequestKind,
    Role,
};

/// Threads that report.
pub(crate) const THREADS: usize = 4;

/// One report, and the thread that makes it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) thread: usize,
    pub(crate) event: Event,
}

/// Rows are picked among those that there are, requests also among those that have ended.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    OpenConnection(NewConnection),
    Connection(Index, ConnectionEvent),
    StartRequest(NewRequest),
    Request(Index, RequestEvent),
    OpenChannel(NewChannel),
    Channel(Index, ChannelEvent),
    NameMethod(u64, String),
    NameType(usize, String),
    /// Nothing is reported: the registry is compared with the model.
    Check,
}

#[derive(Debug, Clone)]
pub(crate) struct NewConnection {
    pub(crate) link: Option<Index>,
    pub(crate) conn_id: u64,
    pub(crate) group: Option<Index>,
    pub(crate) role: Role,
    pub(crate) state: ConnectionState,
    pub(crate) observes_writes: bool,
    pub(crate) name: String,
}

#[derive(Debug, Clone)]
pub(crate) enum ConnectionEvent {
    Rename(String),
    Error(String),
    Losses(u32),
    Transport(Option<(u64, u32)>),
    State(ConnectionState, u32),
    Sent(u64),
    Received(u64),
    Delivering(Option<u64>),
    Polled,
    Writing(bool),
    Enqueued,
    Dequeued,
    Close,
    Release,
}

#[derive(Debug, Clone)]
pub(crate) struct NewRequest {
    pub(crate) connection: Option<Index>,
    pub(crate) request_id: u64,
    pub(crate) method_id: u64,
    pub(crate) direction: Direction,
    pub(crate) phase: Phase,
    pub(crate) kind: RequestKind,
    pub(crate) payload_bytes: u64,
    pub(crate) arguments: Option<String>,
    pub(crate) parent: Option<Index>,
}

#[derive(Debug, Clone)]
pub(crate) enum RequestEvent {
    Advance(Phase),
    Respond(Phase, Outcome, u64),
    Mark(Mark),
    SetConnection(Index),
    End(Outcome),
    EndAsResponded(Outcome),
}

#[derive(Debug, Clone)]
pub(crate) struct NewChannel {
    pub(crate) connection: Option<Index>,
    pub(crate) channel_id: u64,
    pub(crate) request: Option<Index>,
    pub(crate) direction: ChannelDirection,
    pub(crate) side: ChannelSide,
    pub(crate) type_index: u32,
    pub(crate) receive_budget_bytes: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum ChannelEvent {
    Sent(u64),
    Received(u64, u64),
    Read,
    ReaderGone,
    WriterGone,
    SetRequest(Index),
    SetType(u32),
    Close,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(
        (0..THREADS, event()).prop_map(|(thread, event)| Step { thread, event }),
        1..160,
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => new_connection().prop_map(Event::OpenConnection),
        4 => (any::<Index>(), connection_event()).prop_map(|(at, event)| Event::Connection(at, event)),
        8 => new_request().prop_map(Event::StartRequest),
        10 => (any::<Index>(), request_event()).prop_map(|(at, event)| Event::Request(at, event)),
        3 => new_channel().prop_map(Event::OpenChannel),
        4 => (any::<Index>(), channel_event()).prop_map(|(at, event)| Event::Channel(at, event)),
        1 => (0_u64..8, text()).prop_map(|(id, name)| Event::NameMethod(id, name)),
        1 => (0_usize..8, text()).prop_map(|(key, name)| Event::NameType(key, name)),
        2 => Just(Event::Check),
    ]
}

fn new_connection() -> impl Strategy<Value = NewConnection> {
    (
        any::<Option<Index>>(),
        any::<u64>(),
        any::<Option<Index>>(),
        select(Role::ALL),
        select(ConnectionState::ALL),
        any::<bool>(),
        text(),
    )
        .prop_map(
            |(link, conn_id, group, role, state, observes_writes, name)| NewConnection {
                link,
                conn_id,
                group,
                role,
                state,
                observes_writes,
                name,
            },
        )
}

fn connection_event() -> impl Strategy<Value = ConnectionEvent> {
    prop_oneof![
        text().prop_map(ConnectionEvent::Rename),
        text().prop_map(ConnectionEvent::Error),
        any::<u32>().prop_map(ConnectionEvent::Losses),
        option::of((1..u64::MAX, any::<u32>())).prop_map(ConnectionEvent::Transport),
        (select(ConnectionState::ALL), any::<u32>())
            .prop_map(|(state, attempts)| ConnectionEvent::State(state, attempts)),
        bytes().prop_map(ConnectionEvent::Sent),
        bytes().prop_map(ConnectionEvent::Received),
        any::<Option<u64>>().prop_map(ConnectionEvent::Delivering),
        Just(ConnectionEvent::Polled),
        any::<bool>().prop_map(ConnectionEvent::Writing),
        Just(ConnectionEvent::Enqueued),
        Just(ConnectionEvent::Dequeued),
        Just(ConnectionEvent::Close),
        Just(ConnectionEvent::Release),
    ]
}

fn new_request() -> impl Strategy<Value = NewRequest> {
    (
        any::<Option<Index>>(),
        any::<u64>(),
        method_id(),
        select(Direction::ALL),
        select(Phase::ALL),
        select(RequestKind::ALL),
        any::<u64>(),
        option::of(text()),
        any::<Option<Index>>(),
    )
        .prop_map(
            |(
                connection,
                request_id,
                method_id,
                direction,
                phase,
                kind,
                payload_bytes,
                arguments,
                parent,
            )| NewRequest {
                connection,
                request_id,
                method_id,
                direction,
                phase,
                kind,
                payload_bytes,
                arguments,
                parent,
            },
        )
}

fn request_event() -> impl Strategy<Value = RequestEvent> {
    prop_oneof![
        3 => select(Phase::ALL).prop_map(RequestEvent::Advance),
        3 => (select(Phase::ALL), select(Outcome::ALL), any::<u64>())
            .prop_map(|(phase, outcome, bytes)| RequestEvent::Respond(phase, outcome, bytes)),
        2 => select(Mark::ALL).prop_map(RequestEvent::Mark),
        1 => any::<Index>().prop_map(RequestEvent::SetConnection),
        2 => select(Outcome::ALL).prop_map(RequestEvent::End),
        2 => select(Outcome::ALL).prop_map(RequestEvent::EndAsResponded),
    ]
}

fn new_channel() -> impl Strategy<Value = NewChannel> {
    (
        any::<Option<Index>>(),
        any::<u64>(),
        any::<Option<Index>>(),
        select(ChannelDirection::ALL),
        select(ChannelSide::ALL),
        any::<u32>(),
        any::<u64>(),
    )
        .prop_map(
            |(connection, channel_id, request, direction, side, type_index, budget)| NewChannel {
                connection,
                channel_id,
                request,
                direction,
                side,
                type_index,
                receive_budget_bytes: budget,
            },
        )
}

fn channel_event() -> impl Strategy<Value = ChannelEvent> {
    prop_oneof![
        bytes().prop_map(ChannelEvent::Sent),
        (bytes(), any::<u64>()).prop_map(|(bytes, budget)| ChannelEvent::Received(bytes, budget)),
        Just(ChannelEvent::Read),
        Just(ChannelEvent::ReaderGone),
        Just(ChannelEvent::WriterGone),
        any::<Index>().prop_map(ChannelEvent::SetRequest),
        any::<u32>().prop_map(ChannelEvent::SetType),
        Just(ChannelEvent::Close),
    ]
}

/// Few, since the rows of statistics are never released.
fn method_id() -> impl Strategy<Value = u64> {
    select(vec![0, 1, 64, u64::MAX])
}

/// Sums of these never overflow.
fn bytes() -> impl Strategy<Value = u64> {
    0..1_u64 << 40
}

/// Shorter and longer than any field, with characters of every width.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[a-z.]{0,12}",
        1 => "\\PC{0,90}",
        1 => "[a-z]{230,250}",
    ]
}
