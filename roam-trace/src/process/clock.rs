//! The clocks of other time namespaces, read on one's own.

use std::io;

use rustix::time::{ClockId, clock_gettime};

use super::proc::Process;

const NANOS: i128 = 1_000_000_000;
/// Clock ticks a second in `/proc`, the same on every Linux that runs Rust.
const TICKS: i128 = 100;

/// Converts the times of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// The process's.
    theirs: Offsets,
    /// This process's own.
    ours: Offsets,
}

/// How far clocks are ahead of those of the initial time namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `CLOCK_MONOTONIC`'s.
    pub monotonic_ns: i128,
    /// `CLOCK_BOOTTIME`'s.
    pub boottime_ns: i128,
}

impl Clock {
    /// Reads the clock of a process.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn of(process: &Process) -> io::Result<Self> {
        let own_namespace = match std::fs::read_link("/proc/self/ns/time") {
            Ok(namespace) => namespace,
            // Linux before 5.6 has one time for all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let ours = Offsets::parse(&std::fs::read("/proc/self/timens_offsets")?);
        // The file is about the namespace of future children, which mostly is the process's
        // own; where the namespace is this one there is nothing to ask.
        let is_same = process.read_link("ns/time")? == own_namespace.as_os_str().as_encoded_bytes();
        let theirs = match is_same {
            true => ours,
            false => Offsets::parse(&process.read_file("timens_offsets")?),
        };
        Ok(Self { theirs, ours })
    }

    /// Reads the clock of this process itself.
    ///
    /// # Errors
    ///
    /// As [`Self::of`].
    pub fn own() -> io::Result<Self> {
        let ours = match std::fs::read("/proc/self/timens_offsets") {
            Ok(offsets) => Offsets::parse(&offsets),
            // Linux before 5.6 has one time for all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Offsets::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { theirs: ours, ours })
    }

    /// Returns this moment on the `CLOCK_BOOTTIME` of the initial time namespace.
    pub fn initial_boot_now_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        let now_ns = i128::from(now.tv_sec) * NANOS + i128::from(now.tv_nsec);
        clamp(now_ns - self.ours.boottime_ns)
    }

    /// Converts a start time that this process read, in clock ticks since boot, to the `CLOCK_BOOTTIME` of the initial
    /// time namespace, rounded down to a tick.
    pub fn initial_boot_ns(&self, our_ticks: u64) -> u64 {
        clamp(i128::from(our_ticks) * NANOS / TICKS - self.ours.boottime_ns)
    }

    /// Returns this moment on the process's `CLOCK_MONOTONIC`.
    pub fn now_ns(&self) -> u64 {
        self.at_ns(self.initial_now_ns())
    }

    /// Returns this moment on the `CLOCK_MONOTONIC` of the initial time namespace, the kernel side's clock.
    pub fn initial_now_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let now_ns = i128::from(now.tv_sec) * NANOS + i128::from(now.tv_nsec);
        clamp(now_ns - self.ours.monotonic_ns)
    }

    /// Converts a time of the initial time namespace to the process's.
    pub fn at_ns(&self, initial_ns: u64) -> u64 {
        clamp(i128::from(initial_ns) + self.theirs.monotonic_ns)
    }

    /// Converts a time of the initial time namespace to this process's own.
    pub fn own_ns(&self, initial_ns: u64) -> u64 {
        clamp(i128::from(initial_ns) + self.ours.monotonic_ns)
    }

    /// Converts a time of the process to the initial time namespace's.
    pub fn initial_ns(&self, their_ns: u64) -> u64 {
        clamp(i128::from(their_ns) - self.theirs.monotonic_ns)
    }

    /// Returns whether a start time that the process read of itself is the one that this process reads, both in
    /// clock ticks since boot.
    pub fn is_same_start(&self, their_ticks: u64, our_ticks: u64) -> bool {
        let theirs_ns = i128::from(their_ticks) * NANOS / TICKS - self.theirs.boottime_ns;
        let ours_ns = i128::from(our_ticks) * NANOS / TICKS - self.ours.boottime_ns;
        // Both were rounded down to a tick.
        (theirs_ns - ours_ns).abs() <= NANOS / TICKS
    }
}

impl Offsets {
    /// `/proc/PID/timens_offsets`: lines of a clock's name, seconds, and nanoseconds to add to them.
    pub fn parse(text: &[u8]) -> Self {
        let mut offsets = Self::default();
        for line in String::from_utf8_lossy(text).lines() {
            let mut words = line.split_ascii_whitespace();
            let clock = words.next();
            let mut number = || words.next()?.parse::<i64>().ok().map(i128::from);
            let (Some(secs), Some(nanos)) = (number(), number()) else {
                continue;
            };
            match clock {
                Some("monotonic") => offsets.monotonic_ns = secs * NANOS + nanos,
                Some("boottime") => offsets.boottime_ns = secs * NANOS + nanos,
                _ => {}
            }
        }
        offsets
    }
}

fn clamp(time_ns: i128) -> u64 {
    u64::try_from(time_ns.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_parse(text: &str, monotonic_ns: i128, boottime_ns: i128) {
        let expected = Offsets {
            monotonic_ns,
            boottime_ns,
        };
        assert_eq!(Offsets::parse(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn offsets() {
        check_parse(
            "monotonic           0         0\nboottime            0         0\n",
            0,
            0,
        );
        check_parse(
            "monotonic 10 5\nboottime -2 500000000\n",
            10_000_000_005,
            -1_500_000_000,
        );
        check_parse("boottime 1 0\nmonotonic x 0\nlater 1 1\n", 0, 1_000_000_000);
        check_parse("", 0, 0);
    }

    fn check_start(boottime_ns: i128, their_ticks: u64, our_ticks: u64, expected: bool) {
        let clock = Clock {
            theirs: Offsets {
                monotonic_ns: 0,
                boottime_ns,
            },
            ours: Offsets::default(),
        };
        assert_eq!(clock.is_same_start(their_ticks, our_ticks), expected);
    }

    #[test]
    fn start_times() {
        check_start(0, 500, 500, true);
        check_start(0, 502, 500, false);
        check_start(1_000 * NANOS, 100_500, 500, true);
        check_start(-NANOS, 400, 500, true);
        check_start(-NANOS, 500, 500, false);
        check_start(15_000_000, 501, 500, true);
    }

    #[test]
    fn times() {
        let clock = Clock {
            theirs: Offsets {
                monotonic_ns: 1_000,
                boottime_ns: 0,
            },
            ours: Offsets {
                monotonic_ns: -500,
                boottime_ns: 0,
            },
        };
        assert_eq!(clock.at_ns(42), 1_042);
        assert_eq!(clock.own_ns(1_042), 542);
        assert_eq!(clock.initial_ns(1_042), 42);
        assert_eq!(clock.initial_ns(1), 0);
    }
}
