//! The order in which probes are attached.

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
