//! Options of attaching.

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
        }
    }
}
