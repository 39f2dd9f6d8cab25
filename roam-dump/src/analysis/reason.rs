//! Why something is stuck, with everything that a sentence about it says.

use std::sync::Arc;

use super::basis::PairingId;
use super::call::Contradiction;
use super::driver::DriverStall;
use super::index::RowId;
use super::peer::PeerIdentity;
use super::stalled_requests::RingStall;
use crate::model::{Code, ProcessState, RuntimeBlocked};

/// Why a row is stuck. Processes are named by the index of their snapshot, or by pid where there may be none.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The row's own process is stopped or dead.
    ProcessNotAlive {
        pid: u32,
        state: ProcessState,
    },
    /// The process at the other end is.
    PeerNotAlive {
        pid: u32,
        state: ProcessState,
        /// The process that keeps its end of the connection open.
        held_by: Option<u32>,
        /// Whether only one end of the link shows that it is the peer.
        is_likely: bool,
    },
    /// The driver of a link is stalled.
    DriverStalled {
        stall: DriverStall,
        held_up: HeldUp,
    },
    /// The rows of two processes cannot be of one request.
    Contradiction {
        processes: [u32; 2],
        why: Contradiction,
    },
    /// No driver of that process runs, although some have work.
    RuntimeBlocked {
        process: u32,
        blocked: RuntimeBlocked,
    },
    /// A client has no connection.
    NotConnected {
        since_us: u64,
        /// Microseconds since the last attempt, if no call waits for a further one.
        no_attempt_us: Option<u64>,
        attempts: u32,
        losses: u32,
        last_error: Option<Arc<str>>,
    },
    /// The request is no older than calls of its method are.
    Usual,
    Call(CallReason),
    Handler(HandlerReason),
    Channel(ChannelReason),
}

/// Why a call that the process makes is stuck.
#[derive(Debug)]
pub(crate) enum CallReason {
    /// It waits for its own driver, which works.
    NotSent {
        queue: Queue,
        driver: Option<DriverActivity>,
    },
    /// The caller has not read the response.
    ResponseNotRead { age_us: u64 },
    /// The handler in that process is gone without an answer.
    NoAnswer { process: u32 },
    /// That process has the request and has not started the handler.
    NotStarted { process: u32, age_us: u64 },
    /// The handler in that process runs.
    Running {
        process: u32,
        age_us: u64,
        calls: Option<MadeCalls>,
    },
    /// The handler in that process has returned, and the response is not sent.
    NotResponded {
        process: u32,
        age_us: u64,
        stall: Option<DriverStall>,
    },
    /// That process has no row of the request, and must have one.
    NoRow { process: u32 },
    /// That process has no row of the request, but not all of its rows are known either.
    RowsIncomplete { process: u32 },
    /// The request lies in a ring of shared memory.
    InRing(RingStall),
    /// No message of it is in shared memory, and nobody there has received it.
    NotInRing,
    /// The process has no slot of shared memory left for it.
    NoSlot,
    /// The peer does not answer, and nothing more is known of it.
    Unanswered { heard: Heard, peer: PeerIdentity },
}

/// Why a call that the process serves is stuck.
#[derive(Debug)]
pub(crate) enum HandlerReason {
    /// The handler is gone without an answer.
    NoAnswer,
    /// The handler runs on although its connection has closed.
    ConnectionClosed {
        age_us: u64,
    },
    /// The handler runs on for a caller that has cancelled the call.
    Cancelled,
    /// The handler runs on for a caller in that process, which has no row of the request any more.
    CallerGone {
        process: u32,
        pairing: Option<PairingId>,
    },
    NotStarted,
    /// The handler has returned, and the response is not sent.
    NotResponded {
        age_us: u64,
        stall: Option<DriverStall>,
    },
    /// The handler waits for calls that it made.
    InCalls(MadeCalls),
    /// The handler has no call in flight.
    Running {
        /// Stuck calls of the process that no handler is known to have made.
        parentless_calls: u32,
    },
}

/// Why a channel is stuck. `missing_in` is the process that has no such channel, where that is how
/// the end is known to be gone.
#[derive(Debug)]
pub(crate) enum ChannelReason {
    /// The driver waits for room in its buffer.
    BufferFull {
        unread: u64,
        waiting_us: u64,
    },
    ReaderGone {
        missing_in: Option<u32>,
    },
    WriterGone {
        unread: u64,
        missing_in: Option<u32>,
    },
}

/// What waits for a stalled driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HeldUp {
    /// The link itself.
    Link,
    /// A request that is not sent.
    Request,
    /// A response that cannot arrive.
    Response,
    /// A request that the driver of that process has not read.
    Unread { process: u32 },
    /// Items that a handler has sent to its caller in that process.
    Items { process: u32 },
}

/// How far a request got that is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    /// It waits for room in the driver's queue.
    Full,
    /// It is in the driver's queue.
    Entered,
}

/// What a driver that works is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DriverActivity {
    pub(crate) queue_length: u64,
    pub(crate) polled_age_us: u64,
}

/// What came from the peer since a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Not known, since several links may be the peer's.
    FromOneOf,
    /// Not known, since the driver does not report writes.
    Unobserved,
    /// Bytes that the process has not read, in the socket of the link, or in what is likely that.
    Unread { bytes: u64, is_likely: bool },
    /// Not known: the driver has not run since, and what lies in its socket is not known either.
    DriverIdle { idle_us: u64 },
    /// Nothing, ever.
    Never,
    /// Nothing since.
    Before { idle_us: u64 },
    /// Other messages.
    Others { idle_us: u64 },
}

/// The stuck calls that a handler made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MadeCalls {
    pub(crate) first: RowId,
    /// How many besides.
    pub(crate) more: usize,
}

impl Reason {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::ProcessNotAlive { .. } => Code::ProcessStopped,
            Self::PeerNotAlive { state, .. } => match state {
                ProcessState::Dead => Code::PeerDead,
                ProcessState::Alive | ProcessState::Stopped => Code::PeerStopped,
            },
            Self::DriverStalled { stall, .. } => match stall {
                DriverStall::Delivering { .. } => Code::DriverBlocked,
                DriverStall::Writing { .. } => Code::WriteBlocked,
                DriverStall::NotPolled { .. } => Code::RuntimeStarved,
            },
            Self::Contradiction { .. } => Code::Inconsistent,
            Self::RuntimeBlocked { .. } => Code::RuntimeStarved,
            Self::NotConnected { .. } => Code::NotConnected,
            Self::Usual => Code::Usual,
            Self::Call(reason) => reason.code(),
            Self::Handler(reason) => reason.code(),
            Self::Channel(reason) => reason.code(),
        }
    }
}

impl Reason {
    /// The process that lacks its end of a channel, by its index.
    pub(super) fn missing_in(&self) -> Option<u32> {
        match self {
            Self::Channel(
                ChannelReason::ReaderGone { missing_in }
                | ChannelReason::WriterGone { missing_in, .. },
            ) => *missing_in,
            _ => None,
        }
    }
}

impl CallReason {
    fn code(&self) -> Code {
        match self {
            Self::NotSent { .. } | Self::NotInRing | Self::NoSlot => Code::NotSent,
            Self::ResponseNotRead { .. } => Code::ResponseNotRead,
            Self::NoAnswer { .. } => Code::NoAnswer,
            Self::NotStarted { .. } => Code::HandlerNotStarted,
            Self::Running { .. } => Code::HandlerRunning,
            Self::NotResponded { .. } => Code::ResponseNotSent,
            Self::NoRow { .. } => Code::Inconsistent,
            Self::RowsIncomplete { .. } => Code::NoResponse,
            Self::InRing(stall) => stall.cause.code(),
            Self::Unanswered { heard, .. } => match heard {
                Heard::FromOneOf => Code::PeerAmbiguous,
                Heard::Never | Heard::Before { .. } => Code::PeerSilent,
                Heard::Unobserved
                | Heard::Unread { .. }
                | Heard::DriverIdle { .. }
                | Heard::Others { .. } => Code::NoResponse,
            },
        }
    }
}

impl HandlerReason {
    fn code(&self) -> Code {
        match self {
            Self::NoAnswer => Code::NoAnswer,
            Self::ConnectionClosed { .. } => Code::ConnectionClosed,
            Self::Cancelled | Self::CallerGone { .. } => Code::CallerGone,
            Self::NotStarted => Code::HandlerNotStarted,
            Self::NotResponded { .. } => Code::ResponseNotSent,
            Self::InCalls(_) | Self::Running { .. } => Code::HandlerRunning,
        }
    }
}

impl ChannelReason {
    fn code(&self) -> Code {
        match self {
            Self::BufferFull { .. } => Code::DriverBlocked,
            Self::ReaderGone { .. } => Code::ReaderGone,
            Self::WriterGone { .. } => Code::WriterGone,
        }
    }
}
