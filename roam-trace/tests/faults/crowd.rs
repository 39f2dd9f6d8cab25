//! Many threads, many processes, and children that nobody asked for.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

use roam_load::{Log, STORM};
use serde_json::Value;
use tempfile::TempDir;

use crate::attached;
use crate::target::{Target, binary, check_no_zombies};
use crate::tracer::{Tracer, wait_for};

/// Short-lived processes in all, and at once.
const PROCESSES: usize = 1_000;
const AT_ONCE: usize = 10;

#[test]
#[ignore = "needs root"]
fn thread_storm() {
    let target = Target::start(&["act=storm"]);
    let tracer = target.trace();
    target.run();
    target.act();
    target.pause();
    let storm = &target.log.by_thread[STORM];
    assert!(storm.end_done.load(Ordering::Acquire) >= 10_000);
    target.end_as(&tracer.stop());
}

/// Children that pass every probe site, of which one is there before the tracer and one comes later, with
/// the breakpoints in its memory. Their events are nobody's, and both go on when the tracer has left.
#[test]
#[ignore = "needs root"]
fn fork_without_exec() {
    let target = Target::start(&["act=fork"]);
    target.act();
    let tracer = target.trace();
    target.run();
    target.act();
    let rounds = || target.log.child_rounds.load(Ordering::Acquire);
    let wait_for_rounds = || {
        let before = rounds();
        wait_for("the children to go on", || rounds() > before + 10_000);
    };
    wait_for_rounds();
    target.pause();
    let seen = tracer.stop();
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    target.check_counts(&seen);
    target.check_untouched();
    let children = children(target.pid);
    assert_eq!(children.len(), 2);
    for child in children {
        assert_eq!(attached::sites(child).unwrap().changed, 0);
    }
    wait_for_rounds();
    target.quit();
    check_no_zombies();
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap();
    let children = children.split_ascii_whitespace();
    children.map(|pid| pid.parse().unwrap()).collect()
}

#[test]
#[ignore = "needs root"]
fn short_lived_processes() {
    let target = Target::start(&["hold=3"]);
    let tracer = target.trace();
    target.log.run();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    let log = Log::open(&path).unwrap();
    // They make the requests that they hold, and end.
    log.quit.store(1, Ordering::Release);
    for batch in 0..PROCESSES / AT_ONCE {
        let mut children: Vec<Child> = (0..AT_ONCE)
            .map(|_| {
                Command::new(binary("roam-load"))
                    .arg(&path)
                    .args(["threads=0", "hold=20"])
                    .stdin(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        if batch % 25 == 0 {
            dump_one(&children[0]);
        }
        for child in &mut children {
            let mut status = None;
            wait_for("a short-lived process to end", || {
                status = child.try_wait().unwrap();
                status.is_some()
            });
            assert!(status.unwrap().success());
        }
    }
    target.run();
    target.pause();
    target.end_as(&tracer.stop());
}

/// Dumps one that ends meanwhile, and all that this process has started: neither is anything but an
/// answer.
fn dump_one(child: &Child) {
    let one = Tracer::start(&[child.id()], &["-d", "20ms"]);
    let all = Tracer::start(&[std::process::id()], &["--children"]).seen();
    // This process itself is not a roam program; nothing else is to be reported.
    let lines: Vec<_> = all.stderr.lines().collect();
    assert!(
        matches!(lines[..], [line] if line.contains("is not a roam program")),
        "{all:#?}"
    );
    let processes = all.dump["processes"].as_array().unwrap();
    let held = |process: &Value| process["requests"].as_array().unwrap().len() >= 3;
    assert!(processes.iter().any(held), "{all:#?}");
    let one = one.seen();
    assert!(matches!(one.status, Some(0 | 1 | 4)), "{one:#?}");
    assert!(!one.stderr.contains("panicked"), "{one:#?}");
}
