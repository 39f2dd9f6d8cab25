//! The target stands still, or the machine's clock jumps.

use rustix::process::Signal;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::seen::Seen;
use crate::target::Target;
use crate::tracer::Tracer;

/// Seconds that the clock jumps by: more than these tests take, and little enough for whatever else runs.
const JUMP: i64 = 100;

#[test]
#[ignore = "needs root"]
fn target_is_stopped_and_continued() {
    let target = Target::start(&["hold=3"]);
    let tracer = target.trace();
    for _ in 0..3 {
        target.run();
        target.signal(Signal::STOP);
        // Another tracer comes and goes meanwhile.
        for arguments in [&[][..], &["-d", "50ms"]] {
            let seen = Tracer::start(&[target.pid], arguments).seen();
            assert_eq!(seen.status, Some(0), "{seen:#?}");
            assert!(seen.requests().len() >= 3);
        }
        target.signal(Signal::CONT);
    }
    target.run();
    target.pause();
    let seen = tracer.stop();
    assert_eq!(seen.requests().len(), 3);
    target.end_as(&seen);
}

/// `CLOCK_REALTIME`, ahead or behind until this is dropped.
struct Jump(i64);

impl Jump {
    fn by(secs: i64) -> Self {
        shift(secs);
        Self(secs)
    }
}

impl Drop for Jump {
    fn drop(&mut self) {
        shift(-self.0);
    }
}

fn shift(secs: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let shifted = Timespec {
        tv_sec: now.tv_sec + secs,
        ..now
    };
    clock_settime(ClockId::Realtime, shifted).unwrap();
}

/// Ages and windows are of a clock that does not jump; only the date of the dump is of the one that does.
fn check_ages(seen: &Seen) {
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    assert_eq!(seen.requests().len(), 3);
    let limit_us = JUMP as u64 * 1_000_000 / 2;
    for row in seen.requests() {
        let age_us = row["age_us"].as_u64().unwrap();
        assert!((1..limit_us).contains(&age_us), "{row:#}");
    }
    let window_us = seen.process()["window"]["duration_us"].as_u64().unwrap();
    assert!(window_us < limit_us, "{window_us}");
}

#[test]
#[ignore = "needs root"]
fn clock_jumps() {
    for secs in [JUMP, -JUMP] {
        let target = Target::start(&["hold=3"]);
        let tracer = target.trace();
        target.run();
        let jumped = Jump::by(secs);
        target.run();
        target.pause();
        let seen = tracer.stop();
        drop(jumped);
        check_ages(&seen);
        target.end_as(&seen);
    }
}
