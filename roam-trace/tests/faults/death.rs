//! The target ends, or becomes another program, while it is watched.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use roam_load::{Count, Log};
use rustix::process::Signal;

use crate::attached;
use crate::seen::Seen;
use crate::target::{Target, check_no_zombies};
use crate::tracer::{Tracer, wait_for};

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

/// Whatever the tracer is doing then, it says that the process ended, and nothing else.
#[test]
#[ignore = "needs root"]
fn target_is_killed_while_the_tracer_begins() {
    for round in 0..10 {
        let mut target = Target::start(&["threads=4"]);
        target.run();
        let tracer = Tracer::start(&[target.pid], &["-d", "1h"]);
        thread::sleep(Duration::from_millis(round * 20));
        target.signal(Signal::KILL);
        target.collect();
        let seen = tracer.seen();
        assert_eq!(seen.status, Some(1), "{seen:#?}");
        let lines: Vec<_> = seen.stderr.lines().collect();
        let is_reported = |line: &&str| {
            let pid = target.pid;
            [
                format!("process {pid} ended"),
                format!("process {pid}: it ended while it"),
                format!("process {pid}: it does not exist"),
                // Between the kill and its parent's looking.
                "it is a zombie (not yet reaped by its parent)".to_owned(),
            ]
            .iter()
            .any(|message| line.contains(message))
        };
        assert!(
            !lines.is_empty() && lines.iter().all(is_reported),
            "{seen:#?}"
        );
        target.check_results();
    }
    check_no_zombies();
}

#[test]
#[ignore = "needs root"]
fn target_executes_itself_again_and_again() {
    let target = Target::start(&["execs=1000000"]);
    target.log.run();
    for _ in 0..20 {
        let seen = Tracer::start(&[target.pid], &["-d", "20ms"]).seen();
        assert_eq!(seen.status, Some(0), "{seen:#?}");
        assert_eq!(seen.stderr, "");
    }
    target.signal(Signal::STOP);
    wait_for("no probe to be attached", || {
        attached::sites(target.pid).unwrap().changed == 0 && attached::links() == 0
    });
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
