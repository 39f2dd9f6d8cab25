//! The target ends, or becomes another program, while it is watched.

use std::sync::atomic::Ordering;

use roam_load::{Count, Log};
use rustix::process::Signal;

use crate::seen::Seen;
use crate::target::{Target, check_no_zombies};
use crate::tracer::wait_for;

/// The tracer ended by itself, and counted what the log says, within what one event of each thread may
/// make of it.
fn check_ended(target: &Target, seen: &Seen) {
    assert_eq!(seen.status, Some(1), "{seen:#?}");
    check_counts_until_the_end(target, seen);
    target.check_results();
}

fn check_counts_until_the_end(target: &Target, seen: &Seen) {
    let (started, ended) = seen.counts_until_the_end();
    let check = |what: &str, count: Count, seen: u64| {
        assert!(count.allows(seen), "{what}: {count:?}, seen {seen}");
    };
    check("started", target.log.started(), started);
    check("ended", target.log.ended(), ended);
}

#[test]
#[ignore = "needs root"]
fn target_is_killed() {
    let mut target = Target::start(&["threads=4"]);
    let tracer = target.trace();
    target.run();
    target.signal(Signal::KILL);
    target.collect();
    check_ended(&target, &tracer.seen());
    drop(target);
    check_no_zombies();
}

#[test]
#[ignore = "needs root"]
fn target_crashes() {
    let mut target = Target::start(&["threads=4", "act=segv"]);
    let tracer = target.trace();
    target.run();
    target.tell_to_act();
    target.collect();
    check_ended(&target, &tracer.seen());
    drop(target);
    check_no_zombies();
}

/// The new program has the same probes and makes requests too; they are not those that were watched.
#[test]
#[ignore = "needs root"]
fn target_executes_another_program() {
    let target = Target::start(&["threads=4", "act=exec"]);
    let after = Log::open(&target.directory.path().join("log.exec")).unwrap();
    let tracer = target.trace();
    target.run();
    after.run();
    target.tell_to_act();
    wait_for("the new program to make requests", || {
        after.ended().done > 500
    });
    let seen = tracer.stop();
    after.pause();
    wait_for("the new program to pause", || after.is_paused());
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    check_counts_until_the_end(&target, &seen);
    assert_eq!(seen.counts(), (0, 0));
    target.check_untouched();
    assert!(after.results_are_right());
    after.quit.store(1, Ordering::Release);
    drop(target);
    check_no_zombies();
}

/// What is left has no probes and no registry.
#[test]
#[ignore = "needs root"]
fn target_leaves_roam() {
    let target = Target::start(&["threads=4", "act=leave"]);
    let tracer = target.trace();
    target.run();
    target.tell_to_act();
    wait_for("the other program", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", target.pid));
        name.unwrap() == "sleep\n"
    });
    let seen = tracer.stop();
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    check_counts_until_the_end(&target, &seen);
    target.check_results();
    drop(target);
    check_no_zombies();
}
