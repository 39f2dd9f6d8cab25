//! Options of attaching.

use roam_trace_common::event::{Direction, LiveMode, Outcome};
use roam_trace_common::limits;

/// Options of attaching.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Maximum number of requests in the kernel map, over all processes.
    pub max_requests: u32,
    /// Maximum number of channels in the kernel map.
    pub max_channels: u32,
    /// Whether the programs write log lines, see `Tracer::log_lines`.
    pub verbose: bool,
    /// What the programs report while they run.
    pub live: Option<LiveOptions>,
}

/// What the programs report while they run. The kernel leaves out what the filters do not let pass; those of latency and
/// outcome hold for ends.
#[derive(Debug, Clone, Copy)]
pub struct LiveOptions {
    /// What is reported.
    pub mode: LiveMode,
    /// Report only requests that took this long, in nanoseconds.
    pub min_latency_ns: u64,
    /// Report only these outcomes; all if there is none.
    pub outcomes: Outcomes,
    /// Report only this direction.
    pub direction: Option<Direction>,
    /// Whether only some methods are reported, see `Tracer::filter_method`.
    pub filters_methods: bool,
}

/// A set of outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes(u32);

impl Outcomes {
    /// Returns the set as the programs take it: a bit for each code.
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let bits = outcomes.into_iter().map(|outcome| 1 << outcome.code());
        Self(bits.fold(0, |set, bit| set | bit))
    }
}

/// How much an armed set has room for.
#[derive(Debug, Clone, Copy)]
pub struct ArmedOptions {
    /// Maximum number of requests in flight, over all processes.
    pub max_requests: u32,
    /// Maximum number of open channels.
    pub max_channels: u32,
    /// Maximum number of processes.
    pub max_processes: u32,
}

impl Default for ArmedOptions {
    fn default() -> Self {
        Self {
            max_requests: limits::REQUESTS,
            max_channels: limits::CHANNELS,
            max_processes: limits::ARMED_PROCESSES,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_requests: limits::REQUESTS,
            max_channels: limits::CHANNELS,
            verbose: false,
            live: None,
        }
    }
}
