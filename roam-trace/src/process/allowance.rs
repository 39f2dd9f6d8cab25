//! How much time of a processor one run of the tracer spends on what processes choose the size of.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A part of what its user has left that one process may take.
const PART: u64 = 8;

/// Time of a processor that all processes share. The first process of a user takes half of what is left for the user,
/// and no process gets all of what its user has left: there is always something for the next one. Most take very
/// little.
pub(super) struct Allowance(Mutex<Left>);

#[derive(Debug)]
struct Left {
    ns: u64,
    /// By uid.
    users: BTreeMap<u32, u64>,
}

impl Allowance {
    pub(super) const fn new(whole: Duration) -> Self {
        Self(Mutex::new(Left {
            ns: whole.as_nanos() as u64,
            users: BTreeMap::new(),
        }))
    }

    /// Leaves that much for all processes from now on, whatever they have taken.
    pub(super) fn renew(&self, whole: Duration) {
        self.left(|left| {
            *left = Left {
                ns: whole.as_nanos() as u64,
                users: BTreeMap::new(),
            }
        });
    }

    /// Takes the turn of one process, from what this thread does from now on.
    pub(super) fn turn(&self, user: u32) -> Turn<'_> {
        Turn {
            allowance: self,
            user,
            began: thread_time(),
            limit: Duration::from_nanos(self.left(|left| *left.of(user)) / PART),
        }
    }

    fn left<T>(&self, with: impl FnOnce(&mut Left) -> T) -> T {
        let mut left: MutexGuard<'_, Left> = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        with(&mut left)
    }
}

impl Left {
    fn of(&mut self, user: u32) -> &mut u64 {
        self.users.entry(user).or_insert_with(|| {
            self.ns /= 2;
            self.ns
        })
    }
}

/// The turn of one process; what it took is settled when this is dropped.
pub(super) struct Turn<'a> {
    allowance: &'a Allowance,
    user: u32,
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
        self.allowance.left(|left| {
            let left = left.of(self.user);
            *left = left.saturating_sub(took);
        });
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
        let allowance = Allowance::new(Duration::from_millis(160));
        let turn = allowance.turn(7);
        assert_eq!(turn.limit, Duration::from_millis(10));
        while !turn.is_spent() {}
        drop(turn);
        let next = allowance.turn(7);
        assert!(!next.is_spent() && next.limit < Duration::from_millis(9));
        assert_eq!(allowance.turn(0).limit, Duration::from_millis(5));
        allowance.renew(Duration::from_millis(16));
        assert_eq!(allowance.turn(7).limit, Duration::from_millis(1));
    }
}
