//! The tracer dies, stands still, or comes and goes while there is much to see.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::target::{Target, WATCH, check_no_zombies, watching};
use crate::tracer::Tracer;

/// Tracers that are killed in all, and at once.
const KILLS: u64 = 100;
const AT_ONCE: u64 = 4;

/// The time within which a tracer is killed: that it takes to attach, and some more.
const LIFE_MS: u64 = 300;

/// Some die before they attach or while they do; every second one has attached.
#[test]
#[ignore = "needs root"]
fn tracer_is_killed_at_random_moments() {
    let target = Target::start(&["threads=4"]);
    target.log.run();
    let kill_one = &|number: u64| {
        let mut tracer = Tracer::start(&[target.pid], WATCH);
        if number.is_multiple_of(2) {
            tracer = watching(tracer);
        }
        let random = RandomState::new().hash_one(number);
        thread::sleep(Duration::from_millis(random % LIFE_MS));
        tracer.kill();
    };
    for _ in 0..KILLS / AT_ONCE {
        thread::scope(|scope| {
            for number in 0..AT_ONCE {
                scope.spawn(move || kill_one(number));
            }
        });
    }
    target.run();
    target.pause();
    target.end();
}

/// Tracers that get a signal while they attach.
const INTERRUPTS: u32 = 200;

/// The signals come at every moment from before it attaches until it watches.
#[test]
#[ignore = "needs root"]
fn tracer_is_interrupted_while_it_attaches() {
    let target = Target::start(&["threads=1"]);
    target.run();
    target.pause();
    let start = || {
        let mut tracer = Tracer::start(&[target.pid], WATCH);
        tracer.wait_for_line("attaching");
        tracer
    };
    let tracer = start();
    let started = Instant::now();
    let tracer = watching(tracer);
    let span = started.elapsed();
    assert_eq!(tracer.stop().status, Some(0));
    target.check_sites();

    for number in 0..INTERRUPTS {
        let signal = match number % 2 {
            0 => Signal::INT,
            _ => Signal::TERM,
        };
        let tracer = start();
        thread::sleep(span * number / INTERRUPTS);
        tracer.signal(signal);
        let seen = tracer.seen();
        assert_eq!(seen.status, Some(0), "{number}: {seen:#?}");
        target.check_sites();
    }
    target.run();
    target.pause();
    target.end();
}

/// The second interrupt ends the tracer, unless the kernel takes the probes out just then.
#[test]
#[ignore = "needs root"]
fn tracer_is_interrupted_twice() {
    let target = Target::start(&["threads=4"]);
    target.log.run();
    for wait_ms in (0..150).step_by(5) {
        let tracer = target.trace();
        tracer.interrupt();
        thread::sleep(Duration::from_millis(wait_ms));
        tracer.interrupt();
        tracer.output();
        target.check_sites();
    }
    target.run();
    target.pause();
    target.end();
}

/// Tracers that are killed after an interrupt, and the time within which.
const KILLS_AT_THE_END: u32 = 60;
const END_MS: u32 = 90;

/// The kernel does not touch the memory of the target for a process that is about to end, so that another one must
/// take the probes out.
#[test]
#[ignore = "needs root and a kernel with uprobe_multi"]
fn tracer_is_killed_while_it_detaches() {
    let target = Target::start(&["threads=4", "hold=3000"]);
    target.log.run();
    for number in 0..KILLS_AT_THE_END {
        let tracer = target.trace();
        tracer.interrupt();
        let delay_ms = number * END_MS / KILLS_AT_THE_END;
        thread::sleep(Duration::from_millis(delay_ms.into()));
        tracer.kill();
        target.check_sites();
    }
    target.run();
    target.pause();
    target.end();
}

/// A tracer does not see what begins before it has attached and after it has left, so its counts lie
/// between two of the log's.
#[test]
#[ignore = "needs root"]
fn tracers_come_and_go_under_load() {
    let target = Target::start(&["threads=4", "hold=3"]);
    target.run();
    for _ in 0..5 {
        let before = target.log.started().done;
        let tracer = target.trace();
        let attached = target.log.started().begun;
        target.run();
        let stopping = target.log.started().done;
        let seen = tracer.stop();
        let stopped = target.log.started().begun;
        assert_eq!(seen.status, Some(0), "{seen:#?}");
        assert_eq!(seen.gaps(), Vec::<String>::new());
        let (started, ended) = seen.counts();
        let possible = stopping - attached..=stopped - before;
        assert!(possible.contains(&started), "{started} not in {possible:?}");
        // As many as there are threads may have begun before, or not have ended.
        assert!(started.abs_diff(ended) <= 4, "{started} {ended}");
        assert!((3..=3 + 4).contains(&seen.requests().len()), "{seen:#?}");
    }
    target.pause();
    target.end();
}

#[test]
#[ignore = "needs root"]
fn tracer_is_stopped_and_continued() {
    let target = Target::start(&[]);
    let tracer = target.trace();
    target.run();
    tracer.signal(Signal::STOP);
    target.run();
    target.pause();
    tracer.signal(Signal::CONT);
    let seen = tracer.stop();
    target.end_as(&seen);
}

/// More than a pipe holds is to be printed, and nobody takes it: the probes are gone nevertheless.
#[test]
#[ignore = "needs root"]
fn nobody_reads_the_dump() {
    let target = Target::start(&["hold=1000"]);
    let tracer = target.trace();
    target.run();
    target.pause();
    tracer.interrupt();
    target.check_untouched();
    let seen = tracer.seen();
    assert!(seen.dump.to_string().len() > 1 << 17);
    target.check_counts(&seen);
    drop(target);
    check_no_zombies();
}
