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

impl Default for Options {
    fn default() -> Self {
        Self {
            max_requests: limits::REQUESTS,
            max_channels: limits::CHANNELS,
            verbose: false,
        }
    }
}
