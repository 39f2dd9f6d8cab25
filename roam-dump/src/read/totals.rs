//! What the threads of a process counted of one method, added up.

use roam_trace_common::registry::{OUTCOMES, StatisticsRecord};

use super::counts::{add, sum};
use super::latencies::Latencies;

/// A method and the `Direction` code of its calls.
pub type MethodKey = (u64, u32);

/// The calls of one method in one direction that have ended, over all threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodTotals {
    /// The method's id on the wire, and a `Direction` code.
    pub key: MethodKey,
    /// By `Outcome` code less one.
    pub outcomes: [u64; OUTCOMES],
    /// Payload bytes of their requests.
    pub request_bytes: u64,
    /// Payload bytes of their responses.
    pub response_bytes: u64,
    /// When the last one ended, on the clock of the registry; 0 for never.
    pub last_ended_ns: u64,
    /// Latencies within which half, 90% and 99% of the answered ones stayed, in units of `latency`; `None` if none was
    /// answered.
    pub percentiles: Option<[u64; 3]>,
    /// The longest of them, in the same units.
    pub longest: u64,
    /// How many took how long, if the reader asked for it.
    pub latencies: Option<Latencies>,
}

impl MethodTotals {
    pub(super) fn none(key: MethodKey) -> Self {
        Self {
            key,
            outcomes: [0; OUTCOMES],
            request_bytes: 0,
            response_bytes: 0,
            last_ended_ns: 0,
            percentiles: None,
            longest: 0,
            latencies: None,
        }
    }

    pub(super) fn add(&mut self, row: &StatisticsRecord) {
        add(&mut self.outcomes, &row.outcomes);
        self.request_bytes = self.request_bytes.saturating_add(row.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(row.response_bytes);
        self.last_ended_ns = self.last_ended_ns.max(row.last_ended_ns);
        self.longest = self.longest.max(row.longest);
    }

    /// Returns how many calls have ended.
    pub fn ended(&self) -> u64 {
        sum(&self.outcomes)
    }
}
