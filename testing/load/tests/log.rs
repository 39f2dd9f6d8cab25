//! The log that tests of a tracer are held against.

use std::process::Command;
use std::time::{Duration, Instant};

use roam_load::Log;

const THREADS: u64 = 2;

#[test]
fn what_a_killed_load_did_is_known_to_within_one_event_a_thread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = Log::open(&path).unwrap();
    log.run();
    let mut load = Command::new(env!("CARGO_BIN_EXE_roam-load"))
        .arg(&path)
        .arg(format!("threads={THREADS}"))
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while log.ended().done < 1_000 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    load.kill().unwrap();
    load.wait().unwrap();

    let (started, ended) = (log.started(), log.ended());
    assert!(ended.done >= 1_000, "{ended:?}");
    assert!(started.begun - started.done <= THREADS, "{started:?}");
    assert!(ended.begun - ended.done <= THREADS, "{ended:?}");
    assert!(
        started.begun - ended.done <= THREADS,
        "{started:?} {ended:?}"
    );
    assert!(started.done >= ended.begun, "{started:?} {ended:?}");
}
