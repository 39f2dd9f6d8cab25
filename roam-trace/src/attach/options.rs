//! How to trace.

use roam_trace_common::limits;

/// How to trace.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Requests that the kernel side can hold, over all processes.
    pub max_requests: u32,
    /// Channels that it can hold.
    pub max_channels: u32,
    /// Whether the programs write log lines, see [`Tracer::log_lines`].
    pub verbose: bool,
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
