//! Which probes are attached, and in which order.

use roam_trace_common::event::LiveMode;

/// The probes in the order in which they are attached. What ends a row comes first: otherwise what
/// starts and ends in between would stay in the maps for ever.
pub(super) const ATTACH_ORDER: [&str; 8] = [
    "request_end",
    "channel_close",
    "connection_close",
    "request_phase",
    "channel_data",
    "connection_open",
    "channel_open",
    "request_start",
];

/// Those that a live mode needs, in the same order; without one, all.
pub(super) fn probes_of(live: Option<LiveMode>) -> Vec<&'static str> {
    let is_needed = |probe: &&str| match live {
        None => true,
        Some(LiveMode::All) => !probe.starts_with("connection_"),
        Some(LiveMode::Ends | LiveMode::Histogram) => {
            matches!(*probe, "request_start" | "request_end")
        }
    };
    ATTACH_ORDER.into_iter().filter(is_needed).collect()
}
