//! What a rule says of a row that is stuck. The names and their order are part
//! of the JSON schema.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use roam_trace_common::event::Phase;
use serde::Serialize;

use super::id::id;
use super::{Process, ProcessState};

/// Why a row is stuck.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The case.
    pub code: Code,
    /// The case in words, and what to do where evidence is missing.
    pub text: Arc<str>,
    /// What it rests on.
    pub evidence: Arc<[Evidence]>,
}

/// The kinds of verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request waits for its own driver, which works.
    NotSent,
    /// A driver waits to deliver to a channel that nobody reads, and moves nothing else meanwhile.
    DriverBlocked,
    /// A driver is in a write that its transport does not take.
    WriteBlocked,
    /// A driver has something to do and does not run.
    RuntimeStarved,
    /// The request was sent, and nothing came from the peer since.
    PeerSilent,
    /// The request was sent; the peer sends other things.
    NoResponse,
    /// The peer has the request and has not started its handler.
    HandlerNotStarted,
    /// The handler runs.
    HandlerRunning,
    /// The handler has returned, and the response is not sent.
    ResponseNotSent,
    /// The response is there, and the caller has not read it.
    ResponseNotRead,
    /// Nobody reads what the channel carries.
    ReaderGone,
    /// Nothing more comes through the channel.
    WriterGone,
    /// The handler runs on for a caller that has left.
    CallerGone,
    /// The handler runs on although its connection has closed.
    ConnectionClosed,
    /// The handler is gone without an answer.
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
    /// The two ends contradict each other, in a second reading too.
    Inconsistent,
    /// It waits for something that waits for it.
    Deadlock,
}

impl Code {
    /// The name that JSON has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::DriverBlocked => "driver_blocked",
            Self::WriteBlocked => "write_blocked",
            Self::RuntimeStarved => "runtime_starved",
            Self::PeerSilent => "peer_silent",
            Self::NoResponse => "no_response",
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
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Evidence {
    /// When anything last came from the peer.
    PeerLastSent {
        /// Microseconds since then, `null` for never.
        age_us: Option<u64>,
    },
    /// What a driver reported.
    Driver {
        /// The process that it is in.
        pid: u32,
        /// Microseconds since it came round its loop.
        polled_age_us: u64,
        /// Microseconds since it began the write that it is in.
        writing_us: Option<u64>,
        /// Messages put into its queue.
        enqueued: u64,
        /// Messages that it took out.
        dequeued: u64,
    },
    /// Messages that the other end has sent and this process has not taken.
    NotReceived {
        /// The process that has not taken them.
        pid: u32,
        /// How many.
        messages: u64,
    },
    /// A delivery that waits.
    Delivering {
        /// The process whose driver waits.
        pid: u32,
        /// The channel.
        #[serde(serialize_with = "id")]
        channel_id: u64,
        /// Microseconds since it waits.
        waiting_us: u64,
        /// Items in the channel's buffer that nobody has read.
        unread_items: Option<u64>,
        /// Requests of the link that wait behind it.
        requests_behind: u64,
    },
    /// The row of the same request, or of a call made for it.
    Row {
        /// What the row is to this one.
        relation: Relation,
        /// The process that has it.
        pid: u32,
        /// Its serial.
        #[serde(serialize_with = "id")]
        serial: u64,
        /// How far it got.
        phase: Phase,
        /// Microseconds since then.
        phase_age_us: u64,
    },
    /// Stuck calls of the process of which nobody knows which handler made them.
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
        /// Whether that was seen in the other process, which has no row for its end.
        by_other_process: bool,
    },
    /// A process that may not be able to do anything.
    Process {
        /// The process.
        #[serde(flatten)]
        process: Process,
        /// Whether it can.
        state: ProcessState,
        /// The process that keeps its end of the connection open.
        held_by: Option<u32>,
    },
    /// Threads of the process by state. A worker that is parked and one that is blocked look alike.
    Threads {
        /// The process.
        pid: u32,
        /// How many are in which state.
        states: BTreeMap<char, u32>,
    },
    /// Attempts to connect that failed.
    Attempts {
        /// How many.
        failed: u32,
    },
    /// The processes whose calls wait for each other.
    Cycle {
        /// In order, where there is one.
        processes: Vec<Process>,
        /// Whether every step is recorded; otherwise handlers at the bottom are taken to wait for others of
        /// their process.
        is_certain: bool,
    },
    /// Evidence that could not be had, and how to get it.
    Missing {
        /// In words.
        text: Arc<str>,
    },
}

/// What one row is to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
