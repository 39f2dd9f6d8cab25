//! Why a row is stuck. The names and their order are part of the JSON schema.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use roam_trace_common::event::{ConnectionState, Mark, Phase};
use serde::{Serialize, Serializer};

#[cfg(feature = "schema")]
use super::id::Id;
use super::id::id;
use super::{HubDirection, Process, ProcessState, RuntimeBlocked};

/// Why a row is stuck. In JSON, each stands once in [`Dump::verdicts`](super::Dump::verdicts), and rows hold its index.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// Its index there.
    #[serde(skip)]
    pub index: u32,
    /// The code.
    pub code: Code,
    /// The code as a sentence, and what to do if evidence is missing.
    pub text: Arc<str>,
    /// The evidence that it rests on.
    pub evidence: Arc<[Evidence]>,
}

/// The code of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request waits for its own driver, which works.
    NotSent,
    /// A driver waits for room in the buffer of a channel, and moves nothing else meanwhile.
    DriverBlocked,
    /// A driver is in a write that its transport does not accept.
    WriteBlocked,
    /// A driver has work and does not run.
    RuntimeStarved,
    /// The request was sent, and nothing arrived from the peer since.
    PeerSilent,
    /// The request was sent, and the peer sends other messages.
    NoResponse,
    /// The request lies in shared memory, and its reader was not woken.
    MissedWakeUp,
    /// The request lies in shared memory, and its reader does not read it.
    MessageNotRead,
    /// The peer has the request and has not started the handler.
    HandlerNotStarted,
    /// The handler runs.
    HandlerRunning,
    /// The handler has returned, and the response is not sent.
    ResponseNotSent,
    /// The response has arrived, and the caller has not read it.
    ResponseNotRead,
    /// The receiving end of the channel is gone.
    ReaderGone,
    /// The sending end of the channel is gone.
    WriterGone,
    /// The handler still runs for a caller that no longer waits.
    CallerGone,
    /// The handler still runs although its connection closed.
    ConnectionClosed,
    /// The handler ended without a response.
    NoAnswer,
    /// The process at the other end is stopped.
    PeerStopped,
    /// The process at the other end is dead.
    PeerDead,
    /// The process itself is stopped or dead.
    ProcessStopped,
    /// A client has no connection yet.
    NotConnected,
    /// Several connections may be the other end.
    PeerAmbiguous,
    /// The two ends contradict each other, and did so again when they were read a second time.
    Inconsistent,
    /// It waits for something that waits for it.
    Deadlock,
    /// It has run no longer than calls of its method do.
    Usual,
}

/// A verdict of a row, as the index of the verdict.
pub(super) fn index<S: Serializer>(
    verdict: &Option<Arc<Verdict>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let index = verdict.as_ref().map(|verdict| verdict.index);
    index.serialize(serializer)
}

impl Code {
    /// Returns the name of the code in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::DriverBlocked => "driver_blocked",
            Self::WriteBlocked => "write_blocked",
            Self::RuntimeStarved => "runtime_starved",
            Self::PeerSilent => "peer_silent",
            Self::NoResponse => "no_response",
            Self::MissedWakeUp => "missed_wake_up",
            Self::MessageNotRead => "message_not_read",
            Self::HandlerNotStarted => "handler_not_started",
            Self::HandlerRunning => "handler_running",
            Self::ResponseNotSent => "response_not_sent",
            Self::ResponseNotRead => "response_not_read",
            Self::ReaderGone => "reader_gone",
            Self::WriterGone => "writer_gone",
            Self::CallerGone => "caller_gone",
            Self::ConnectionClosed => "connection_closed",
            Self::NoAnswer => "no_answer",
            Self::PeerStopped => "peer_stopped",
            Self::PeerDead => "peer_dead",
            Self::ProcessStopped => "process_stopped",
            Self::NotConnected => "not_connected",
            Self::PeerAmbiguous => "peer_ambiguous",
            Self::Inconsistent => "inconsistent",
            Self::Deadlock => "deadlock",
            Self::Usual => "usual",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One fact that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Evidence {
    /// The last message from the peer.
    PeerLastSent {
        /// Microseconds since it arrived, `None` for never.
        #[serde(skip_serializing_if = "Option::is_none")]
        age_us: Option<u64>,
    },
    /// The last report of a driver.
    Driver {
        /// The process that it is in.
        pid: u32,
        /// Microseconds since its heartbeat.
        polled_age_us: u64,
        /// Microseconds since it started the write that it is in.
        #[serde(skip_serializing_if = "Option::is_none")]
        writing_us: Option<u64>,
        /// Messages put into its queue.
        enqueued: u64,
        /// Messages that it took out of its queue.
        dequeued: u64,
    },
    /// Messages that the other end has sent and this process has not read.
    NotReceived {
        /// The process that has not read them.
        pid: u32,
        /// How many.
        messages: u64,
    },
    /// Bytes that have arrived in its socket and that the process has not read.
    Unread {
        /// The process.
        pid: u32,
        /// How many.
        bytes: u64,
    },
    /// The ring of shared memory that the request lies in.
    InRing {
        /// The peer of the hub.
        peer: u8,
        /// The way of the messages.
        direction: HubDirection,
        /// Unread messages in it.
        messages: u32,
        /// The process that does not read it, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        reader: Option<u32>,
    },
    /// A driver that waits for room in the buffer of a channel.
    Delivering {
        /// The process whose driver waits.
        pid: u32,
        /// The channel.
        #[serde(serialize_with = "id")]
        #[cfg_attr(feature = "schema", schemars(with = "Id"))]
        channel_id: u64,
        /// Microseconds that it has waited.
        waiting_us: u64,
        /// Unread items in the buffer of the channel.
        #[serde(skip_serializing_if = "Option::is_none")]
        unread_items: Option<u64>,
        /// Requests that wait behind it on the link.
        requests_behind: u64,
    },
    /// Another row: of the same request, or of a call made for it.
    Row {
        /// The relation of that row to this one.
        relation: Relation,
        /// The process that has it.
        pid: u32,
        /// Its serial.
        #[serde(serialize_with = "id")]
        #[cfg_attr(feature = "schema", schemars(with = "Id"))]
        serial: u64,
        /// Its phase.
        phase: Phase,
        /// Why it stays although the request can no longer end as usual, if so.
        #[serde(skip_serializing_if = "Option::is_none")]
        mark: Option<Mark>,
        /// Microseconds since it reached `phase`.
        phase_age_us: u64,
    },
    /// A row that a process would have if the request still concerned it.
    NoRow {
        /// The relation of that row to this one.
        relation: Relation,
        /// The process.
        pid: u32,
        /// Serial of the root connection of the link that the row would be of.
        #[serde(serialize_with = "id")]
        #[cfg_attr(feature = "schema", schemars(with = "Id"))]
        link: u64,
        /// Microseconds from the moment that this row reached its phase until that process was read.
        read_after_us: u64,
    },
    /// Why the link of the row and that of the other process are taken for the two ends of one.
    Pairing {
        /// The facts that it rests on, as text.
        basis: Arc<str>,
    },
    /// The mark of the row.
    Mark {
        /// The mark.
        mark: Mark,
    },
    /// The state of the row's connection.
    Connection {
        /// The process.
        pid: u32,
        /// Serial of the connection.
        #[serde(serialize_with = "id")]
        #[cfg_attr(feature = "schema", schemars(with = "Id"))]
        serial: u64,
        /// Its state.
        state: ConnectionState,
        /// Microseconds since it reached `state`.
        state_age_us: u64,
    },
    /// Stuck calls of a process whose handler is unknown.
    ParentUnknown {
        /// The process.
        pid: u32,
        /// How many.
        calls: u32,
    },
    /// The ends of a channel.
    ChannelEnds {
        /// Whether the receiving end is gone.
        reader_gone: bool,
        /// Whether the sending end is gone.
        writer_gone: bool,
        /// Whether the other process showed it by having no row for its end.
        by_other_process: bool,
    },
    /// The state of a process.
    Process {
        /// The process.
        #[serde(flatten)]
        process: Process,
        /// Its state.
        state: ProcessState,
        /// The process that keeps its end of the connection open.
        #[serde(skip_serializing_if = "Option::is_none")]
        held_by: Option<u32>,
    },
    /// Threads of the process by state. A parked worker and a blocked one have the same state.
    Threads {
        /// The process.
        pid: u32,
        /// The number of threads in each state.
        states: BTreeMap<char, u32>,
    },
    /// Attempts to connect that failed.
    Attempts {
        /// How many.
        failed: u32,
        /// Microseconds since the last one, if no call waits for a further one.
        #[serde(skip_serializing_if = "Option::is_none")]
        no_attempt_us: Option<u64>,
        /// Why the last one failed, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_error: Option<Arc<str>>,
        /// Times that the client has lost the link, the present outage included.
        losses: u32,
    },
    /// How long the answered calls of the same method took.
    Latency {
        /// The process that made or served them.
        pid: u32,
        /// How many there were.
        answered: u64,
        /// Half of them took at most that many microseconds.
        p50_us: u64,
        /// 99% of them took at most that many microseconds.
        p99_us: u64,
    },
    /// The time alone decided: too few calls of the method were answered, or the user set the time.
    TimeAlone {
        /// Microseconds from which the row counts as stuck.
        stuck_us: u64,
        /// Calls that were answered; `None` if the user set the time for the method, or if they are not known.
        #[serde(skip_serializing_if = "Option::is_none")]
        answered: Option<u64>,
    },
    /// No driver of a process runs, although some have work.
    RuntimeBlocked {
        /// The process.
        pid: u32,
        /// What was seen.
        #[serde(flatten)]
        blocked: RuntimeBlocked,
    },
    /// The processes whose calls wait for each other.
    Cycle {
        /// In the order of the cycle, if it has one.
        processes: Vec<Process>,
        /// Whether every edge is recorded; otherwise the cycle closes only if handlers at the end of a chain wait
        /// for others of their process.
        is_certain: bool,
    },
    /// Evidence that the tracer does not have, and how to get it.
    Missing {
        /// A sentence.
        text: Arc<str>,
    },
}

/// The relation of one row to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The callee's row of the same request.
    Callee,
    /// The caller's row of the same request.
    Caller,
    /// A call that the handler made and waits for.
    MadeCall,
    /// The request that the channel belongs to.
    ChannelOwner,
}
