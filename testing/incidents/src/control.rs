//! What the supervisor orders and what processes report: JSON lines on their standard input and output. No roam
//! connection: a hung link carries nothing, and no dump should show it.

use serde::{Deserialize, Serialize};

use crate::service::{Behavior, Method, Ticket};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Make calls, so many of them at once.
    Call {
        method: Method,
        count: u32,
        at_once: u32,
        ticket: Ticket,
    },
    /// Make a call over and over, whatever comes of it, with a pause of that many milliseconds.
    Repeat {
        method: Method,
        pause_ms: u64,
        ticket: Ticket,
    },
    /// Make short calls for ever, about that many per second. A client with a time limit drops those that take long.
    Load { rate: f64, has_limit: bool },
    /// Open connections for ever, and close each after a few calls.
    ComeAndGo,
    /// Make long polls and streams for ever, so many of each kind, after shorter ones that make them usual.
    Poll { count: u32, length_ms: u64 },
    /// Let handlers that wait at the gate go on.
    OpenGate,
    /// Block every worker thread of the runtime.
    BlockWorkers,
    /// Block the thread of the link that has one of its own.
    BlockDedicated,
    /// Connect to the gateway that often, make a call over each connection, and close all when the gate opens.
    Churn {
        count: u32,
        method: Method,
        ticket: Ticket,
    },
    /// Open files until that many more may be opened.
    FillDescriptors { leave: u64 },
    /// Report how many calls have ended.
    Count,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// All its links are up.
    Ready,
    /// A handler has got to a step of its ticket.
    Reached { method: Method, behavior: Behavior },
    /// A channel has as many items as its writer was to write.
    Filled,
    /// No worker of the runtime, or no thread of the link, runs any more.
    Blocked,
    /// A call of an order has ended.
    Ended { method: Method, ok: bool },
    /// All links of [`Order::Churn`] are closed.
    Churned,
    /// The limit of descriptors is reached.
    Descriptors { open: u64, limit: u64 },
    /// The calls that have ended.
    Counts(serde_json::Value),
    /// Long polls and streams are as usual as they are to be.
    Warm,
}
