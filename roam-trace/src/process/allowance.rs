//! How much time of a processor one run of the tracer spends on what processes choose the size of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A part of what is left that one process may take.
const PART: u64 = 8;

/// Time of a processor that all processes share. No process gets all of what is left, so that there is always something
/// for the next one; most take very little.
pub(super) struct Allowance {
    left_ns: AtomicU64,
}

impl Allowance {
    pub(super) const fn new(whole: Duration) -> Self {
        Self {
            left_ns: AtomicU64::new(whole.as_nanos() as u64),
        }
    }

    /// Returns whether nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.left_ns.load(Ordering::Relaxed) == 0
    }

    /// Takes the turn of one process, from what this thread does from now on.
    pub(super) fn turn(&self) -> Turn<'_> {
        Turn {
            allowance: self,
            began: thread_time(),
            limit: Duration::from_nanos(self.left_ns.load(Ordering::Relaxed) / PART),
        }
    }
}

/// The turn of one process; what it took is settled when this is dropped.
pub(super) struct Turn<'a> {
    allowance: &'a Allowance,
    began: Duration,
    limit: Duration,
}

impl Turn<'_> {
    /// Returns whether the process has taken all that it may; where nothing is left, from the start.
    pub(super) fn is_spent(&self) -> bool {
        thread_time().saturating_sub(self.began) >= self.limit
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let took = thread_time().saturating_sub(self.began).as_nanos() as u64;
        let left = |left: u64| Some(left.saturating_sub(took));
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.allowance.left_ns.fetch_update(set, fetch, left);
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_what_others_need() {
        let allowance = Allowance::new(Duration::from_millis(80));
        let turn = allowance.turn();
        assert_eq!(turn.limit, Duration::from_millis(10));
        while !turn.is_spent() {}
        drop(turn);
        let next = allowance.turn();
        assert!(!next.is_spent() && next.limit < Duration::from_millis(9));
    }
}
