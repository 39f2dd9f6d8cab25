//! Makes nanoseconds of the counter. Reads neither it nor the kernel's clock itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// The longest that the counter is relied on before it is compared with the kernel's clock again.
const LONGEST_NS: u64 = 1_000_000_000;
/// The shortest time that says how fast the counter runs.
const SHORTEST_NS: u64 = 10_000_000;
/// A sample that took longer, although the best of several, shows that the counter cannot be compared with the clock.
const LONGEST_GAP_NS: u64 = 50_000;

/// The counter and the kernel's clock at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) counter: u64,
    pub(super) ns: u64,
    /// How far the two may be apart.
    pub(super) gap_ns: u64,
}

/// How to make nanoseconds of the counter, for all threads.
pub(super) struct Calibration {
    /// Grows with every renewal. Its lowest bit says which line counts.
    version: AtomicUsize,
    lines: [SharedLine; 2],
    renewal: Mutex<Renewal>,
    /// The counter has turned out to be of no use.
    is_given_up: AtomicBool,
}

/// A straight line through one moment, and how far it may be followed.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    counter: u64,
    ns: u64,
    /// Nanoseconds of one step of the counter, times 2^32.
    rate: u64,
    /// Steps up to which the line counts; none before the rate is known.
    steps: u64,
}

#[derive(Default)]
struct SharedLine {
    counter: AtomicU64,
    ns: AtomicU64,
    rate: AtomicU64,
    steps: AtomicU64,
}

/// What the next line follows from.
struct Renewal {
    last: Sample,
    line: Line,
    /// The first rate that was measured.
    first_rate: Option<u64>,
}

/// The counter does not run as it should.
#[derive(Debug, PartialEq, Eq)]
struct Unreliable;

impl Calibration {
    pub(super) fn new(first: &Sample) -> Self {
        Self {
            version: AtomicUsize::new(0),
            lines: Default::default(),
            renewal: Mutex::new(Renewal {
                last: *first,
                line: Line::default(),
                first_rate: None,
            }),
            is_given_up: AtomicBool::new(false),
        }
    }

    /// The time at which the counter was read, or `None` once it has turned out to be of no use. Calls `sample` about
    /// once a second.
    #[inline]
    pub(super) fn now_ns(&self, counter: u64, sample: impl FnOnce() -> Sample) -> Option<u64> {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let line = self.lines[version % 2].load();
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) != version {
                // The one after the next is written where this one was.
                continue;
            }
            return line.at(counter).or_else(|| self.renew(sample));
        }
    }

    /// Never waits: while another thread renews the line, the sample is the time.
    #[cold]
    fn renew(&self, sample: impl FnOnce() -> Sample) -> Option<u64> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return None;
        }
        let Ok(mut renewal) = self.renewal.try_lock() else {
            return Some(sample().ns);
        };
        // Taken under the lock, so that none is older than the one before.
        let now = sample();
        match renewal.next(&now) {
            Ok(Some(line)) => {
                self.publish(&line);
                Some(line.ns)
            }
            Ok(None) => Some(now.ns),
            Err(Unreliable) => {
                self.is_given_up.store(true, Ordering::Relaxed);
                self.publish(&Line::default());
                None
            }
        }
    }

    fn publish(&self, line: &Line) {
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Whoever sees any of the following also sees that the line before counts.
        fence(Ordering::Release);
        self.lines[version % 2].store(line);
        self.version.store(version, Ordering::Release);
    }
}

impl Line {
    /// The time at which the counter was read; `None` where the line does not reach so far, or begins later.
    #[inline]
    fn at(&self, counter: u64) -> Option<u64> {
        let steps = counter.wrapping_sub(self.counter);
        // No overflow: a line reaches one second.
        (steps < self.steps).then(|| self.ns + ((steps * self.rate) >> 32))
    }

    /// The latest time that it can have given up to `counter`.
    fn latest_ns(&self, counter: u64) -> u64 {
        let steps = counter.saturating_sub(self.counter).min(self.steps);
        self.ns + ((steps * self.rate) >> 32)
    }
}

impl SharedLine {
    #[inline]
    fn load(&self) -> Line {
        Line {
            counter: self.counter.load(Ordering::Relaxed),
            ns: self.ns.load(Ordering::Relaxed),
            rate: self.rate.load(Ordering::Relaxed),
            steps: self.steps.load(Ordering::Relaxed),
        }
    }

    fn store(&self, line: &Line) {
        self.counter.store(line.counter, Ordering::Relaxed);
        self.ns.store(line.ns, Ordering::Relaxed);
        self.rate.store(line.rate, Ordering::Relaxed);
        self.steps.store(line.steps, Ordering::Relaxed);
    }
}

impl Renewal {
    /// The line from `now` on; `None` where it is too early for one.
    fn next(&mut self, now: &Sample) -> Result<Option<Line>, Unreliable> {
        let passed_ns = now.ns.saturating_sub(self.last.ns);
        if passed_ns < SHORTEST_NS {
            return Ok(None);
        }
        let steps = now.counter.checked_sub(self.last.counter);
        let rate = steps
            .filter(|_| now.gap_ns <= LONGEST_GAP_NS)
            .and_then(|steps| (u128::from(passed_ns) << 32).checked_div(steps.into()))
            .and_then(|rate| u64::try_from(rate).ok())
            .ok_or(Unreliable)?;
        let first_rate = *self.first_rate.get_or_insert(rate);
        if rate == 0 || rate.abs_diff(first_rate) > first_rate / 100 {
            return Err(Unreliable);
        }
        // The longer the time it was measured over, the longer a rate holds.
        let length_ns = passed_ns.saturating_mul(10).min(LONGEST_NS);
        // What was ahead of the kernel's clock waits for it, so that no time is before an earlier one.
        let ahead_ns = self.line.latest_ns(now.counter).saturating_sub(now.ns);
        let ahead_ns = ahead_ns.min(length_ns / 100);
        self.last = *now;
        self.line = Line {
            counter: now.counter,
            ns: now.ns + ahead_ns,
            rate: rate - (u128::from(rate) * u128::from(ahead_ns) / u128::from(length_ns)) as u64,
            steps: ((u128::from(length_ns) << 32) / u128::from(rate)) as u64,
        };
        Ok(Some(self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter of 2.5 steps per nanosecond, in step with the clock at 0.
    fn sample(ns: u64) -> Sample {
        Sample {
            counter: ns * 5 / 2,
            ns,
            gap_ns: 100,
        }
    }

    fn never() -> Sample {
        panic!("the line reaches as far")
    }

    #[test]
    fn times_between_samples_lie_on_a_line() {
        let start_ns = 5_000_000_000;
        let clock = Calibration::new(&sample(start_ns));
        let at = |ns| clock.now_ns(sample(ns).counter, || sample(ns));
        // Too early to know the rate: every time is a sample.
        assert_eq!(at(start_ns + 1_000), Some(start_ns + 1_000));
        assert_eq!(at(start_ns + SHORTEST_NS), Some(start_ns + SHORTEST_NS));
        for ns in (1..10).map(|part| start_ns + SHORTEST_NS + part * SHORTEST_NS) {
            let read = clock.now_ns(sample(ns).counter, never);
            assert!(read.is_some_and(|read| read.abs_diff(ns) <= 1), "{ns}");
        }
        // After a while for which nobody asked.
        let late_ns = start_ns + 3_600 * LONGEST_NS;
        assert_eq!(at(late_ns), Some(late_ns));
        let ns = late_ns + LONGEST_NS - 1_000;
        let read = clock.now_ns(sample(ns).counter, never);
        assert!(read.is_some_and(|read| read.abs_diff(ns) <= 1));
    }

    #[test]
    fn a_counter_that_slows_down_a_little_never_takes_time_back() {
        let clock = Calibration::new(&sample(0));
        let (mut counter, mut last_ns) = (0, 0);
        for part in 1..10_000 {
            let ns = part * 1_000_000;
            // 100 parts per million faster and slower in turns, as clocks are that are being adjusted.
            counter += 2_500_000 + if part / 700 % 2 == 0 { 250 } else { 0 };
            let now = Sample {
                counter,
                ..sample(ns)
            };
            let read = clock.now_ns(counter, || now);
            let read = read.expect("the counter is good enough");
            assert!(
                last_ns <= read && read.abs_diff(ns) < 200_000,
                "{ns} {read}"
            );
            last_ns = read;
        }
    }

    /// `odd` is what the second of two samples, one second apart, is like.
    #[track_caller]
    fn check_unreliable(odd: Sample) {
        let clock = Calibration::new(&sample(0));
        let good = sample(20_000_000);
        assert!(clock.now_ns(good.counter, || good).is_some());
        assert_eq!(clock.now_ns(odd.counter, || odd), None);
        // For good.
        assert_eq!(clock.now_ns(good.counter, never), None);
    }

    #[test]
    fn what_is_odd_ends_the_use_of_the_counter() {
        let later = sample(LONGEST_NS);
        check_unreliable(Sample {
            counter: later.counter / 98 * 100,
            ..later
        });
        check_unreliable(Sample {
            counter: later.counter / 102 * 100,
            ..later
        });
        check_unreliable(Sample {
            counter: 7,
            ..later
        });
        check_unreliable(Sample {
            gap_ns: LONGEST_GAP_NS + 1,
            ..later
        });
    }
}
