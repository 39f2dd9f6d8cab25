//! A pid that is given to another process.

use std::fs;

use crate::target::{Target, check_no_zombies, watching};
use crate::tracer::{Tracer, wait_for};

/// A load that has a certain pid. Somebody else may get it first: then it is tried again.
fn start_as(pid: u32) -> Target {
    let mut found = None;
    wait_for("the pid to be free", || {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let target = Target::start(&[]);
        found = (target.pid == pid).then_some(target);
        found.is_some()
    });
    found.unwrap()
}

/// What the new process does is not what the one did that was watched.
#[test]
#[ignore = "needs root"]
fn pid_is_reused() {
    let mut dies = Target::start(&["threads=4"]);
    let stays = Target::start(&[]);
    let both = [dies.pid, stays.pid];
    let tracer = watching(Tracer::start(&both, &["-v", "-d", "1h"]));
    dies.run();
    stays.run();
    dies.signal(rustix::process::Signal::KILL);
    dies.collect();
    let new = start_as(dies.pid);
    new.run();
    stays.run();
    stays.pause();
    new.pause();
    let seen = tracer.stop();

    assert_eq!(seen.status, Some(1), "{seen:#?}");
    let (started, ended) = seen.counts_until_the_end();
    assert!(dies.log.started().allows(started), "{seen:#?}");
    assert!(dies.log.ended().allows(ended), "{seen:#?}");
    assert_eq!(seen.process()["process"]["pid"], stays.pid);
    stays.check_counts(&seen);
    for target in [&new, &stays] {
        target.check_untouched();
    }
    dies.check_results();
    drop((dies, new, stays));
    check_no_zombies();
}
