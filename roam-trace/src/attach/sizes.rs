//! How many entries the kernel maps have.

use roam_trace_common::limits;

use super::options::{ArmedOptions, Options};

/// How many entries the kernel maps have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) requests: u32,
    pub(super) channels: u32,
    pub(super) connections: u32,
    pub(super) traffic: u32,
    pub(super) targets: u32,
    pub(super) executables: u32,
}

impl Sizes {
    /// Those for so many traced processes.
    pub(super) fn traced(targets: usize, options: &Options) -> Self {
        let targets = targets.max(1) as u32;
        let connections = limits::CONNECTIONS.saturating_mul(targets);
        Self {
            requests: options.max_requests,
            channels: options.max_channels,
            connections,
            traffic: connections,
            targets,
            executables: 0,
        }
    }

    /// Those of an armed set.
    pub(super) fn armed(options: &ArmedOptions) -> Self {
        Self {
            requests: options.max_requests,
            channels: options.max_channels,
            connections: limits::ARMED_CONNECTIONS,
            traffic: 0,
            targets: options.max_processes,
            executables: limits::ARMED_EXECUTABLES,
        }
    }
}
