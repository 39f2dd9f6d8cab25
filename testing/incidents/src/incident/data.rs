//! What an incident is: how it is planted, how one knows that it has taken effect, and what is true then.

use serde::Serialize;

use crate::control::{Order, Report};

#[derive(Serialize)]
pub(crate) struct Incident {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The condition that makes it hardest to see.
    pub(crate) worst: Condition,
    /// Done in this order.
    #[serde(skip)]
    pub(crate) plant: Vec<Act>,
    pub(crate) truth: Truth,
}

/// What goes on besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    Quiet,
    LoadedLongpolls,
}

pub(crate) enum Act {
    /// A process gets an order.
    Order(&'static str, Order),
    /// A process is to report that, so many times.
    Await(&'static str, Report, u32),
    /// A process is stopped by a signal.
    Stop(&'static str),
    Kill(&'static str),
}

/// What is true once an incident has taken effect. Whatever a dump says besides is false.
#[derive(Serialize)]
pub(crate) struct Truth {
    /// Whether anybody waits for it, so that a health check must fail.
    pub(crate) is_alarm: bool,
    /// What may stand first.
    pub(crate) roots: Vec<Root>,
    /// Processes without a worker that runs.
    pub(crate) blocked: Vec<&'static str>,
    /// Connections whose driver does not run: process and name.
    pub(crate) blocked_links: Vec<(&'static str, &'static str)>,
    /// Processes whose driver waits for room in a channel, and the method that does not read it.
    pub(crate) full: Vec<(&'static str, &'static str)>,
    /// Processes with a driver that waits for the transport, or will once its socket is full.
    pub(crate) write_blocked: Vec<&'static str>,
    /// Processes that have lost links and connect anew.
    pub(crate) retrying: Vec<&'static str>,
    /// Processes that wait for each other.
    pub(crate) deadlock: Vec<&'static str>,
    /// Processes with channels whose writer is gone.
    pub(crate) writer_gone: Vec<&'static str>,
    /// Processes with few descriptors left.
    pub(crate) descriptors: Vec<&'static str>,
}

/// What a root may be.
#[derive(Default, Serialize)]
pub(crate) struct Root {
    pub(crate) process: &'static str,
    /// Of a call or a handler; any if empty.
    pub(crate) methods: Vec<&'static str>,
    /// `call`, `handler`, `handlers`, `driver` or `process`; any if empty. `handlers` are among `handler`.
    pub(crate) nodes: Vec<&'static str>,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            is_alarm: true,
            roots: Vec::new(),
            blocked: Vec::new(),
            blocked_links: Vec::new(),
            full: Vec::new(),
            write_blocked: Vec::new(),
            retrying: Vec::new(),
            deadlock: Vec::new(),
            writer_gone: Vec::new(),
            descriptors: Vec::new(),
        }
    }
}
