//! How many entries the kernel maps have.

use roam_trace_common::event::LiveMode;
use roam_trace_common::limits;

use super::options::{ArmedOptions, LiveOptions, Options};

/// How many entries the kernel maps have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    pub(super) requests: u32,
    pub(super) channels: u32,
    pub(super) connections: u32,
    pub(super) traffic: u32,
    pub(super) targets: u32,
    pub(super) executables: u32,
    /// Bytes.
    pub(super) events: u32,
    pub(super) filter: u32,
    pub(super) histograms: u32,
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
            ..Self::live(options.live.as_ref())
        }
    }

    /// Those of the maps that live views read.
    fn live(options: Option<&LiveOptions>) -> Self {
        let (has_events, has_histograms) = match options.map(|live| live.mode) {
            None => (false, false),
            Some(LiveMode::Ends | LiveMode::All) => (true, false),
            Some(LiveMode::Histogram) => (false, true),
        };
        let filters_methods = options.is_some_and(|live| live.filters_methods);
        let size = |is_needed: bool, entries| if is_needed { entries } else { 0 };
        Self {
            events: size(has_events, limits::EVENT_BUFFER_BYTES),
            filter: size(filters_methods, limits::FILTERED_METHODS),
            histograms: size(has_histograms, limits::HISTOGRAM_BUCKETS),
            ..Self::default()
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
            ..Self::default()
        }
    }
}
