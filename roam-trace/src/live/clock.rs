//! The wall clock of the times in events.

use jiff::{SignedDuration, Timestamp};

use crate::process::clock::Clock;

/// Converts the kernel side's times to those of the wall clock, as of the last time that both were read.
pub(crate) struct WallClock {
    clock: Clock,
    now_ns: u64,
    now: Timestamp,
}

impl WallClock {
    pub(crate) fn new() -> Self {
        let clock = Clock::own().unwrap_or_default();
        Self {
            now_ns: clock.initial_now_ns(),
            now: Timestamp::now(),
            clock,
        }
    }

    /// Reads both clocks again: the wall clock may be set.
    pub(crate) fn update(&mut self) {
        self.now_ns = self.clock.initial_now_ns();
        self.now = Timestamp::now();
    }

    /// Returns when something happened.
    pub(crate) fn at(&self, time_ns: u64) -> Timestamp {
        let since_ns = time_ns.wrapping_sub(self.now_ns).cast_signed();
        self.now
            .checked_add(SignedDuration::from_nanos(since_ns))
            .unwrap_or(self.now)
    }
}
