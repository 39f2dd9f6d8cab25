//! Every hang of the demo gets the right verdict on the right row and the right
//! root blocker, by processes that nobody watched before.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use roam_demo::service::method::{COMPILE, CONVERT, FETCH, FIND_CONTENT, OPEN, RESOLVE, UPLOAD};
use serde_json::Value;

use crate::demo::{Demo, ReadyDemo};
use crate::dump::in_the_end;
use crate::tracer::DEADLINE;
use crate::tracer::watchdog::Watchdog;
use crate::verdicts::with_verdicts;

/// Whose row it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Host,
    Cell1,
    Cell2,
}
use Who::{Cell1, Cell2, Host};

const OUT: &str = "outgoing";
const IN: &str = "incoming";

/// The verdicts of a hang: process, direction, method, code.
type Row = (Who, &'static str, &'static str, &'static str);

/// What stands at the bottom.
struct Root {
    who: Who,
    /// `handler`, `call`, `driver` or `process`.
    node: &'static str,
    method: Option<&'static str>,
    deadlock: Option<&'static str>,
}

fn root(who: Who, node: &'static str, method: Option<&'static str>) -> Root {
    Root {
        who,
        node,
        method,
        deadlock: None,
    }
}

struct Dump(Value);

impl Dump {
    fn of(demo: &ReadyDemo) -> Self {
        let output = roam_trace(demo, &["--json"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self(with_verdicts(
            serde_json::from_slice(&output.stdout).unwrap(),
        ))
    }

    /// The verdicts of all requests, and the ages of those that have none.
    fn verdicts(&self, demo: &ReadyDemo) -> Vec<(Who, String, String, String)> {
        let mut verdicts = Vec::new();
        for process in self.0["processes"].as_array().unwrap() {
            let who = who(demo, &process["process"]["pid"]);
            for row in process["requests"].as_array().unwrap() {
                let text = |field: &str| row[field].as_str().unwrap().to_owned();
                let age_us = row["age_us"].as_u64().unwrap();
                match row["verdict"]["code"].as_str() {
                    Some(code) => {
                        assert!(age_us >= 1_000_000, "{row:#}");
                        verdicts.push((who, text("direction"), text("method"), code.to_owned()));
                    }
                    None => assert!(age_us < 1_000_000, "{row:#}"),
                }
            }
        }
        verdicts.sort_by_key(|row| format!("{row:?}"));
        verdicts
    }

    fn check_root(&self, demo: &ReadyDemo, expected: &Root) {
        let graph = &self.0["graph"];
        let roots = graph["roots"].as_array().unwrap();
        // A possible cycle stands after what is known.
        let root = match expected.deadlock {
            None => roots.first().unwrap(),
            Some(_) => roots.last().unwrap(),
        };
        assert_eq!(root["deadlock"].as_str(), expected.deadlock, "{graph:#}");
        let node = &graph["nodes"][root["nodes"][0].as_u64().unwrap() as usize];
        assert_eq!(node["node"], expected.node, "{graph:#}");
        assert_eq!(node["method"].as_str(), expected.method, "{graph:#}");
        if expected.deadlock.is_none() {
            assert_eq!(
                who(demo, &node["process"]["pid"]),
                expected.who,
                "{graph:#}"
            );
            assert_eq!(root["nodes"].as_array().unwrap().len(), 1);
        }
    }
}

fn who(demo: &ReadyDemo, pid: &Value) -> Who {
    let pid = pid.as_u64().unwrap() as u32;
    match demo.pids().iter().position(|&known| known == pid) {
        Some(0) => Host,
        Some(1) => Cell1,
        Some(2) => Cell2,
        _ => panic!("{pid} is not of the demo"),
    }
}

fn roam_trace(demo: &ReadyDemo, arguments: &[&str]) -> Output {
    let tracer = Command::new(env!("CARGO_BIN_EXE_roam-trace"))
        .args(["-p", &demo.ready.host.to_string(), "--children"])
        .args(arguments)
        // Where a line is wrapped depends on the length of pids.
        .env("COLUMNS", "1000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::of(&tracer, DEADLINE);
    tracer.wait_with_output().unwrap()
}

fn check(hang: &str, rows: &[Row], expected_root: &Root) -> (ReadyDemo, Dump) {
    check_demo(&["--hang", hang], rows, expected_root)
}

/// The same over shared memory; returns also what was found about the hub.
fn check_shm(hang: &str, rows: &[Row], expected_root: &Root, finding: &str) -> ReadyDemo {
    let arguments = ["--transport", "shm", "--hang", hang];
    let (demo, dump) = check_demo(&arguments, rows, expected_root);
    let findings = &dump.0["hubs"][0]["findings"];
    let is_found = |found: &Value| found["finding"] == finding;
    assert!(
        findings.as_array().unwrap().iter().any(is_found),
        "{findings:#}"
    );
    demo
}

fn check_demo(arguments: &[&str], rows: &[Row], expected_root: &Root) -> (ReadyDemo, Dump) {
    let demo = Demo::start(arguments).ready();
    demo.wait_until_background_is_young();
    let mut expected: Vec<_> = rows
        .iter()
        .map(|&(who, direction, method, code)| {
            (
                who,
                direction.to_owned(),
                method.to_owned(),
                code.to_owned(),
            )
        })
        .collect();
    expected.sort_by_key(|row| format!("{row:?}"));
    let dump = in_the_end(|| {
        let dump = Dump::of(&demo);
        assert_eq!(dump.verdicts(&demo), expected, "{:#}", dump.0);
        dump.check_root(&demo, expected_root);
        dump
    });
    (demo, dump)
}

#[test]
fn handler() {
    check(
        "handler",
        &[
            (Host, OUT, OPEN, "handler_running"),
            (Cell1, IN, OPEN, "handler_running"),
        ],
        &root(Cell1, "handler", Some(OPEN)),
    );
}

#[test]
fn chain() {
    let (demo, _) = check(
        "chain",
        &[
            (Host, OUT, COMPILE, "handler_running"),
            (Cell1, IN, COMPILE, "handler_running"),
            (Cell1, OUT, CONVERT, "handler_running"),
            (Cell2, IN, CONVERT, "handler_running"),
        ],
        &root(Cell2, "handler", Some(CONVERT)),
    );
    let text = String::from_utf8(roam_trace(&demo, &[]).stdout).unwrap();
    let (_, graph) = text
        .split_once("WAIT GRAPH (root blocker first):\n")
        .unwrap();
    let graph: Vec<&str> = graph.lines().collect();
    let [host, cell_1, cell_2] = demo.pids()[..] else {
        panic!("three processes");
    };
    assert!(
        graph[0].starts_with(&format!("  demo-cell-2[{cell_2}] {CONVERT} running "))
            && graph[0].contains("s): it has no call out; it computes, or waits"),
        "{text}"
    );
    assert!(
        graph[1].starts_with(&format!(
            "  └─ demo-cell-1[{cell_1}] {COMPILE} → {CONVERT} "
        )),
        "{text}"
    );
    assert!(
        graph[2].starts_with(&format!(
            "     └─ demo-host[{host}] (called outside a handler) → {COMPILE} "
        )),
        "{text}"
    );
    assert_eq!(graph.len(), 3, "{text}");
}

#[test]
fn reader() {
    let (demo, dump) = check(
        "reader",
        &[
            (Host, OUT, COMPILE, "response_not_sent"),
            (Host, OUT, UPLOAD, "handler_running"),
            (Host, OUT, FIND_CONTENT, "driver_blocked"),
            (Cell1, IN, COMPILE, "response_not_sent"),
            (Cell1, IN, UPLOAD, "handler_running"),
            (Cell1, OUT, RESOLVE, "driver_blocked"),
        ],
        &root(Cell1, "handler", Some(UPLOAD)),
    );
    let cell = dump.0["processes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|process| who(&demo, &process["process"]["pid"]) == Cell1)
        .unwrap();
    let blocked = |list: &str| {
        cell[list]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["verdict"]["code"] == "driver_blocked")
            .count()
    };
    assert_eq!([blocked("channels"), blocked("connections")], [1, 1]);
}

#[test]
fn dropped() {
    check(
        "dropped",
        &[(Cell1, IN, CONVERT, "caller_gone"); 3],
        &root(Cell1, "handler", Some(CONVERT)),
    );
}

#[test]
fn forward() {
    check(
        "forward",
        &[
            (Host, OUT, FETCH, "handler_running"),
            (Cell1, IN, FETCH, "handler_running"),
            (Cell1, OUT, FETCH, "handler_running"),
            (Cell2, IN, FETCH, "handler_running"),
        ],
        &root(Cell2, "handler", Some(FETCH)),
    );
}

#[test]
fn starved() {
    check(
        "starved",
        &[
            (Host, OUT, FIND_CONTENT, "runtime_starved"),
            (Cell1, OUT, RESOLVE, "runtime_starved"),
        ],
        &root(Cell1, "process", None),
    );
}

#[test]
fn panic() {
    check(
        "panic",
        &[
            (Host, OUT, CONVERT, "no_answer"),
            (Cell1, IN, CONVERT, "no_answer"),
        ],
        &root(Cell1, "handler", Some(CONVERT)),
    );
}

#[test]
fn orphan() {
    check(
        "orphan",
        &[(Cell1, IN, CONVERT, "connection_closed")],
        &root(Cell1, "handler", Some(CONVERT)),
    );
}

#[test]
fn peer_stopped() {
    check(
        "peer-stopped",
        &[
            (Host, OUT, CONVERT, "peer_stopped"),
            (Cell1, IN, CONVERT, "process_stopped"),
        ],
        &root(Cell1, "process", None),
    );
}

#[test]
fn peer_dead() {
    check(
        "peer-dead",
        &[(Host, OUT, CONVERT, "peer_dead")],
        &root(Cell1, "process", None),
    );
}

#[test]
fn deadlock() {
    check(
        "deadlock",
        &[
            (Host, OUT, COMPILE, "handler_running"),
            (Host, OUT, COMPILE, "handler_running"),
            (Cell1, IN, COMPILE, "handler_running"),
            (Cell1, OUT, CONVERT, "handler_running"),
            (Cell1, IN, CONVERT, "handler_running"),
            (Cell2, IN, COMPILE, "handler_running"),
            (Cell2, OUT, CONVERT, "handler_running"),
            (Cell2, IN, CONVERT, "handler_running"),
        ],
        &Root {
            deadlock: Some("possible_cycle"),
            ..root(Cell1, "handler", Some(CONVERT))
        },
    );
}

#[test]
fn unread() {
    check(
        "unread",
        &[(Host, OUT, COMPILE, "response_not_read")],
        &root(Host, "call", Some(COMPILE)),
    );
}

#[test]
fn doorbell() {
    let demo = check_shm(
        "doorbell",
        &[(Host, OUT, CONVERT, "missed_wake_up")],
        &root(Cell1, "process", None),
        "missed_wake_up",
    );
    // The host alone shows it as well, by the hub; the peer is found by its arguments.
    let host = demo.ready.host.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_roam-trace"))
        .args(["shm", "-p", &host, "--json"])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let peers = &shown["hubs"][0]["content"]["peers"];
    let peers = peers.as_array().unwrap().iter();
    let mut unread = peers.flat_map(|peer| peer["to_peer"]["unread"].as_array().unwrap());
    let message = unread.next().unwrap();
    assert_eq!(message["kind"], "request");
    assert_eq!(message["method"], CONVERT);
    assert!(message["age_us"].as_u64().unwrap() >= 1_000_000);
    assert!(unread.next().is_none());
    let users = shown["hubs"][0]["users"].as_array().unwrap();
    let pids: Vec<_> = users.iter().map(|user| who(&demo, &user["pid"])).collect();
    assert!([Host, Cell1, Cell2].iter().all(|who| pids.contains(who)));
}

#[test]
fn leak() {
    check_shm(
        "leak",
        &[(Host, OUT, CONVERT, "peer_dead"); 3],
        &root(Host, "call", Some(CONVERT)),
        "peer_dead",
    );
}

#[test]
fn exhausted() {
    let mut rows = vec![(Host, OUT, CONVERT, "message_not_read"); 16];
    rows.extend([(Host, OUT, CONVERT, "not_sent"); 4]);
    rows.push((Cell1, OUT, RESOLVE, "not_sent"));
    check_shm(
        "exhausted",
        &rows,
        &root(Cell1, "process", None),
        "pool_near_full",
    );
}

#[test]
fn consumer_stopped() {
    check_shm(
        "consumer-stopped",
        &[(Host, OUT, CONVERT, "peer_stopped"); 3],
        &root(Cell1, "process", None),
        "not_drained",
    );
}

#[test]
fn nothing_is_wrong_with_a_hub_under_load() {
    let demo = Demo::start(&["--transport", "shm", "--rate", "400"]).ready();
    std::thread::sleep(Duration::from_secs(2));
    for _ in 0..5 {
        let dump = Dump::of(&demo);
        assert_eq!(dump.verdicts(&demo), [], "{:#}", dump.0);
        assert_eq!(dump.0["hubs"][0]["findings"], serde_json::json!([]));
    }
}

#[test]
fn a_health_check_fails_where_something_is_stuck() {
    let demo = Demo::start(&["--hang", "chain"]).ready();
    let healthy = roam_trace(&demo, &["--fail-if-stuck", "1h"]);
    assert_eq!(healthy.status.code(), Some(0));
    demo.wait_until_background_is_young();
    let stuck = roam_trace(&demo, &["--fail-if-stuck", "1s"]);
    assert_eq!(stuck.status.code(), Some(5));
    let line = String::from_utf8(stuck.stderr).unwrap();
    let blocker = format!("demo-cell-2[{}] {CONVERT} running", demo.ready.cells[1]);
    assert!(
        line.starts_with("roam-trace: stuck for ") && line.contains(&blocker),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[test]
fn nothing_is_stuck_under_load() {
    let demo = Demo::start(&["--rate", "400"]).ready();
    std::thread::sleep(Duration::from_secs(2));
    for _ in 0..5 {
        let dump = Dump::of(&demo);
        assert_eq!(dump.verdicts(&demo), [], "{:#}", dump.0);
        assert_eq!(dump.0["graph"]["roots"], serde_json::json!([]));
    }
}
