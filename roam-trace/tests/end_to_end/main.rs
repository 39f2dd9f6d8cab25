//! Real processes, real probes: every hang of the demo is found from outside.
//!
//! The demo says what a truthful dump must show; every source must show that
//! and nothing else that is older than a second.

mod armed;
mod demo;
mod dump;
mod follow;
mod pairing;
#[path = "../../../testing/terminal.rs"]
#[expect(dead_code, reason = "other tests use what these do not")]
mod terminal;
mod top;
#[path = "../tracer/mod.rs"]
mod tracer;
mod verdict;
#[path = "../../../testing/verdicts.rs"]
mod verdicts;
mod witness;

use std::process::Command;
use std::time::Duration;

use demo::Demo;
use dump::{in_the_end, signal_dump, trace};
use serde_json::Value;
use tracer::Tracer;

const HANGS: [&str; 5] = ["handler", "reader", "chain", "dropped", "forward"];

/// How long the demo runs well before it gets stuck, where a tracer is to be attached before.
const HANG_AFTER: Duration = Duration::from_secs(3);

/// From before the hang until its rows are older than those of the background.
const WATCH_A_HANG: Duration = Duration::from_secs(7);

/// Whether the processor is emulated.
fn is_slow() -> bool {
    std::env::var_os("ROAM_TRACE_TEST_SLOW").is_some()
}

/// How much longer everything takes: on an emulated processor, attaching alone takes seconds.
fn patience() -> u32 {
    if is_slow() { 3 } else { 1 }
}

/// What the demo is to hang in: one after the other, though on an emulated processor there is no time for those
/// that differ from others only in what is called.
fn hangs() -> &'static [&'static str] {
    if is_slow() { &HANGS[..2] } else { &HANGS }
}

/// A duration for a command line.
fn seconds(duration: Duration) -> String {
    format!("{}s", (duration * patience()).as_secs())
}

#[test]
fn the_registry_shows_every_hang_without_having_been_attached() {
    for hang in hangs() {
        let demo = Demo::start(&["--hang", hang]).ready();
        demo.wait_until_background_is_young();
        in_the_end(|| trace(&demo, &["--source", "registry"]).check(&demo.ready, "registry"));
    }
}

#[test]
#[ignore = "needs root"]
fn probes_attached_before_the_hang_show_it() {
    for hang in hangs() {
        let (hang_after, watch) = (seconds(HANG_AFTER), seconds(WATCH_A_HANG));
        in_the_end(|| {
            let demo = Demo::start(&["--hang", hang, "--hang-after", &hang_after]);
            let tracer = dump::Tracer::start(&demo.pids(), &["--source", "probes", "-d", &watch]);
            let demo = demo.ready();
            tracer.finish().check(&demo.ready, "probes");
        });
    }
}

#[test]
#[ignore = "needs root and a kernel with uprobe_multi"]
fn armed_probes_show_every_hang() {
    let armed = armed::Armed::arm(&demo::binary("roam-demo"), "roam-trace-test-hangs").unwrap();
    for hang in hangs() {
        let demo = Demo::start(&["--hang", hang]).ready();
        demo.wait_until_background_is_young();
        for source in ["probes", "both"] {
            in_the_end(|| {
                let rows = armed.trace(&demo, source);
                assert!(
                    rows.processes()
                        .all(|process| process.get("armed_us").is_some())
                );
                rows.check(&demo.ready, source);
            });
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_hang_that_only_probes_report_is_found_if_they_were_attached_before() {
    for hang in hangs() {
        let (hang_after, watch) = (seconds(HANG_AFTER), seconds(WATCH_A_HANG));
        in_the_end(|| {
            let demo = Demo::with(
                |command| {
                    command.env("ROAM_DIAGNOSTIC", "probes");
                },
                &["--cells", "2", "--hang", hang, "--hang-after", &hang_after],
            );
            let tracer = dump::Tracer::start(&demo.pids(), &["-d", &watch]);
            let demo = demo.ready();
            let rows = tracer.finish();
            rows.check_probes_only(&demo.ready);
            assert_eq!(
                rows.has_parents(),
                ["chain", "forward"].contains(hang),
                "{hang}"
            );
        });
    }
}

#[test]
#[ignore = "needs root"]
fn probes_attached_after_the_hang_show_it_by_the_registry() {
    for hang in hangs() {
        let demo = Demo::start(&["--hang", hang]).ready();
        in_the_end(|| {
            let rows = trace(&demo, &["-d", "2s"]);
            rows.check(&demo.ready, "both");
            assert!(
                rows.window_started() > 0,
                "{hang}: no traffic in the window"
            );
        });
    }
}

#[test]
#[ignore = "needs root"]
fn live_views_show_what_the_demo_does() {
    let demo = Demo::start(&["--hang", "handler"]).ready();
    let run = |command: &str| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_roam-trace"));
        tool.arg(command);
        let duration = seconds(Duration::from_secs(3));
        let output = Tracer::start_by(tool, &demo.pids(), &["-d", &duration]).output();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let events: Vec<Value> = run("watch")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for pid in demo.pids() {
        for direction in ["outgoing", "incoming"] {
            let is_of =
                |event: &&Value| event["process"]["pid"] == pid && event["direction"] == direction;
            let ends: Vec<_> = events.iter().filter(is_of).collect();
            assert!(!ends.is_empty() || pid != demo.ready.host, "{direction}");
            for end in ends {
                assert_eq!(end["event"], "request_end");
                assert!(
                    end["method"].is_string() && end["latency_ns"].is_u64(),
                    "{end}"
                );
            }
        }
    }
    let report: Value = serde_json::from_str(&run("histogram")).unwrap();
    assert_eq!(report["gaps"], serde_json::json!([]));
    let processes = report["processes"].as_array().unwrap();
    assert_eq!(processes.len(), demo.pids().len());
    for process in processes {
        let methods = process["methods"].as_array().unwrap();
        assert!(
            !methods.is_empty() && methods[0]["method"].is_string(),
            "{process}"
        );
    }
}

#[test]
fn sigusr1_shows_every_hang_in_host_and_cells() {
    for hang in hangs() {
        let demo = Demo::start(&["--hang", hang]).ready();
        demo.wait_until_background_is_young();
        for &pid in &demo.pids() {
            in_the_end(|| signal_dump(&demo, pid).check_text(&demo.ready, pid));
        }
    }
}

#[test]
fn sigusr1_works_with_every_worker_blocked() {
    let demo = Demo::start(&["--hang", "handler", "--block-workers"]).ready();
    signal_dump(&demo, demo.ready.host).check_text(&demo.ready, demo.ready.host);
}

#[test]
#[ignore = "needs root"]
fn a_dump_by_probes_leaves_the_sites_as_they_were() {
    let demo = Demo::start(&["--hang", "handler"]).ready();
    let before = dump::site_bytes(demo.ready.host);
    assert!(!before.is_empty());
    for _ in 0..3 {
        trace(&demo, &["-d", "200ms"]);
        assert_eq!(dump::site_bytes(demo.ready.host), before);
    }
    let killed = dump::Tracer::start(&demo.pids(), &["-d", "60s"]);
    dump::wait_for("the probes to be attached", || {
        dump::site_bytes(demo.ready.host) != before
    });
    killed.kill();
    dump::wait_for("the probes to be gone", || {
        dump::site_bytes(demo.ready.host) == before
    });
}

#[test]
#[ignore = "needs root"]
fn an_interrupt_ends_the_watching_and_prints_the_dump() {
    let demo = Demo::start(&["--hang", "handler"]).ready();
    let mut tracer = dump::Tracer::start(&demo.pids(), &["-v", "-d", "60s"]);
    tracer.wait_for_line("counting requests");
    demo.wait_until_background_is_young();
    tracer.interrupt();
    tracer.finish().check(&demo.ready, "both");
}

#[test]
#[ignore = "needs root, bpftrace and a kernel with uprobe_multi"]
fn bpftrace_counts_the_same_starts_and_ends() {
    let demo = Demo::start(&["--hang", "dropped", "--rate", "200"]).ready();
    let (ours, theirs) =
        witness::count_together(&demo, || std::thread::sleep(Duration::from_secs(3)));
    assert_eq!(ours, theirs);
    let (started, ended) = ours[&demo.ready.host];
    assert!(started > 100 && ended > 100, "{ours:?}");
}
