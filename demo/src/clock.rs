//! The moment something happened, on both clocks that a dump may be compared by.

use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// One moment on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(crate) monotonic_ns: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) unix_ms: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            monotonic_ns: monotonic_ns(),
            // A clock before 1970 has no better answer, and only a display uses this one.
            unix_ms: unix.map_or(0, |elapsed| elapsed.as_millis() as u64),
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds, which is never negative.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
