//! Every hang of the demo gets the right verdict on the right row and the right
//! root blocker, by processes that nobody watched before.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use roam_demo::service::method::{COMPILE, CONVERT, FETCH, FIND_CONTENT, OPEN, RESOLVE, UPLOAD};
use serde_json::Value;

use crate::armed::Armed;
use crate::demo::{Demo, ReadyDemo, binary};
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

/// The same as a dump has it.
type Found = (Who, String, String, String);

/// What stands at the bottom.
struct Root {
    who: Who,
    /// `handler`, `call`, `driver` or `process`.
    node: &'static str,
    method: Option<&'static str>,
    deadlock: Option<&'static str>,
}

const fn root(who: Who, node: &'static str, method: Option<&'static str>) -> Root {
    Root {
        who,
        node,
        method,
        deadlock: None,
    }
}

struct Dump(Value);

impl Dump {
    fn of(mut tool: Command) -> Self {
        let output = run(&mut tool, &["--json"]);
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
    fn verdicts(&self, demo: &ReadyDemo) -> Vec<Found> {
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

/// A command that reads host and cells.
fn tool(demo: &ReadyDemo) -> Command {
    of_host(Command::new(env!("CARGO_BIN_EXE_roam-trace")), demo)
}

fn of_host(mut tool: Command, demo: &ReadyDemo) -> Command {
    tool.args(["-p", &demo.ready.host.to_string(), "--children"])
        // Where a line is wrapped depends on the length of pids.
        .env("COLUMNS", "1000");
    tool
}

fn run(tool: &mut Command, arguments: &[&str]) -> Output {
    let tracer = tool
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::of(&tracer, DEADLINE);
    tracer.wait_with_output().unwrap()
}

struct Case<'a> {
    hang: &'static str,
    rows: &'a [Row],
    root: Root,
}

/// What every hang of the demo leads to.
const CASES: [Case<'static>; 12] = [
    Case {
        hang: "handler",
        rows: &[
            (Host, OUT, OPEN, "handler_running"),
            (Cell1, IN, OPEN, "handler_running"),
        ],
        root: root(Cell1, "handler", Some(OPEN)),
    },
    Case {
        hang: "chain",
        rows: &[
            (Host, OUT, COMPILE, "handler_running"),
            (Cell1, IN, COMPILE, "handler_running"),
            (Cell1, OUT, CONVERT, "handler_running"),
            (Cell2, IN, CONVERT, "handler_running"),
        ],
        root: root(Cell2, "handler", Some(CONVERT)),
    },
    Case {
        hang: "reader",
        rows: &[
            (Host, OUT, COMPILE, "response_not_sent"),
            (Host, OUT, UPLOAD, "handler_running"),
            (Host, OUT, FIND_CONTENT, "driver_blocked"),
            (Cell1, IN, COMPILE, "response_not_sent"),
            (Cell1, IN, UPLOAD, "handler_running"),
            (Cell1, OUT, RESOLVE, "driver_blocked"),
        ],
        root: root(Cell1, "handler", Some(UPLOAD)),
    },
    Case {
        hang: "dropped",
        rows: &[(Cell1, IN, CONVERT, "caller_gone"); 3],
        root: root(Cell1, "handler", Some(CONVERT)),
    },
    Case {
        hang: "forward",
        rows: &[
            (Host, OUT, FETCH, "handler_running"),
            (Cell1, IN, FETCH, "handler_running"),
            (Cell1, OUT, FETCH, "handler_running"),
            (Cell2, IN, FETCH, "handler_running"),
        ],
        root: root(Cell2, "handler", Some(FETCH)),
    },
    Case {
        hang: "starved",
        rows: &[
            (Host, OUT, FIND_CONTENT, "runtime_starved"),
            (Cell1, OUT, RESOLVE, "runtime_starved"),
        ],
        root: root(Cell1, "process", None),
    },
    Case {
        hang: "panic",
        rows: &[
            (Host, OUT, CONVERT, "no_answer"),
            (Cell1, IN, CONVERT, "no_answer"),
        ],
        root: root(Cell1, "handler", Some(CONVERT)),
    },
    Case {
        hang: "orphan",
        rows: &[(Cell1, IN, CONVERT, "connection_closed")],
        root: root(Cell1, "handler", Some(CONVERT)),
    },
    Case {
        hang: "peer-stopped",
        rows: &[
            (Host, OUT, CONVERT, "peer_stopped"),
            (Cell1, IN, CONVERT, "process_stopped"),
        ],
        root: root(Cell1, "process", None),
    },
    Case {
        hang: "peer-dead",
        rows: &[(Host, OUT, CONVERT, "peer_dead")],
        root: root(Cell1, "process", None),
    },
    Case {
        hang: "deadlock",
        rows: &[
            (Host, OUT, COMPILE, "handler_running"),
            (Host, OUT, COMPILE, "handler_running"),
            (Cell1, IN, COMPILE, "handler_running"),
            (Cell1, OUT, CONVERT, "handler_running"),
            (Cell1, IN, CONVERT, "handler_running"),
            (Cell2, IN, COMPILE, "handler_running"),
            (Cell2, OUT, CONVERT, "handler_running"),
            (Cell2, IN, CONVERT, "handler_running"),
        ],
        root: Root {
            deadlock: Some("possible_cycle"),
            ..root(Cell1, "handler", Some(CONVERT))
        },
    },
    Case {
        hang: "unread",
        rows: &[(Host, OUT, COMPILE, "response_not_read")],
        root: root(Host, "call", Some(COMPILE)),
    },
];

fn check(hang: &str) -> (ReadyDemo, Dump) {
    let case = CASES.iter().find(|case| case.hang == hang).unwrap();
    let demo = Demo::start(&["--hang", hang]).ready();
    let dump = case.check(&demo, || tool(&demo));
    (demo, dump)
}

/// The same over shared memory, with a finding about the hub.
fn check_shm(case: &Case<'_>, finding: &str) -> ReadyDemo {
    let demo = Demo::start(&["--transport", "shm", "--hang", case.hang]).ready();
    let dump = case.check(&demo, || tool(&demo));
    let findings = &dump.0["hubs"][0]["findings"];
    let is_found = |found: &Value| found["finding"] == finding;
    assert!(
        findings.as_array().unwrap().iter().any(is_found),
        "{findings:#}"
    );
    demo
}

impl Case<'_> {
    /// Waits until a dump by a command has the verdicts of the hang and its root blocker.
    fn check(&self, demo: &ReadyDemo, tool: impl Fn() -> Command) -> Dump {
        let rows = self.rows.iter();
        let mut expected: Vec<_> = rows
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
        self.compare(demo, tool, || expected.clone())
    }

    /// Waits until a dump by a command has these verdicts, and the root blocker of the hang.
    fn compare(
        &self,
        demo: &ReadyDemo,
        tool: impl Fn() -> Command,
        expected: impl Fn() -> Vec<Found>,
    ) -> Dump {
        demo.wait_until_background_is_young();
        in_the_end(|| {
            let dump = Dump::of(tool());
            assert_eq!(dump.verdicts(demo), expected(), "{:#}", dump.0);
            dump.check_root(demo, &self.root);
            dump
        })
    }
}

/// Requests that stand in no registry get the same verdicts by what the kernel kept of them as others by their
/// registry.
#[test]
#[ignore = "needs root"]
fn armed_probes_alone_lead_to_the_same() {
    let Some(armed) = Armed::arm(&binary("roam-demo"), "roam-trace-test-verdicts") else {
        return;
    };
    for case in &CASES {
        let demo = Demo::with(
            |command| {
                command.env("ROAM_DIAGNOSTIC", "probes");
            },
            &["--cells", "2", "--hang", case.hang],
        )
        .ready();
        let recorded = Demo::start(&["--hang", case.hang]).ready();
        let by_registry = || Dump::of(tool(&recorded)).verdicts(&recorded);
        let dump = case.compare(&demo, || of_host(armed.tool(), &demo), by_registry);
        for process in dump.0["processes"].as_array().unwrap() {
            assert_eq!(
                process["gaps"],
                serde_json::json!([]),
                "{}: {process:#}",
                case.hang
            );
            let requests = process["requests"].as_array().unwrap();
            assert!(
                requests.iter().all(|row| row["source"] == "probes"),
                "{process:#}"
            );
        }
    }
}

#[test]
fn handler() {
    check("handler");
}

#[test]
fn chain() {
    let (demo, _) = check("chain");
    let text = String::from_utf8(run(&mut tool(&demo), &[]).stdout).unwrap();
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
    let (demo, dump) = check("reader");
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
    check("dropped");
}

#[test]
fn forward() {
    check("forward");
}

#[test]
fn starved() {
    check("starved");
}

#[test]
fn panic() {
    check("panic");
}

#[test]
fn orphan() {
    check("orphan");
}

#[test]
fn peer_stopped() {
    check("peer-stopped");
}

#[test]
fn peer_dead() {
    check("peer-dead");
}

#[test]
fn deadlock() {
    check("deadlock");
}

#[test]
fn unread() {
    check("unread");
}

#[test]
fn doorbell() {
    let demo = check_shm(
        &Case {
            hang: "doorbell",
            rows: &[(Host, OUT, CONVERT, "missed_wake_up")],
            root: root(Cell1, "process", None),
        },
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
        &Case {
            hang: "leak",
            rows: &[(Host, OUT, CONVERT, "peer_dead"); 3],
            root: root(Host, "call", Some(CONVERT)),
        },
        "peer_dead",
    );
}

#[test]
fn exhausted() {
    let mut rows = vec![(Host, OUT, CONVERT, "message_not_read"); 16];
    rows.extend([(Host, OUT, CONVERT, "not_sent"); 4]);
    rows.push((Cell1, OUT, RESOLVE, "not_sent"));
    check_shm(
        &Case {
            hang: "exhausted",
            rows: &rows,
            root: root(Cell1, "process", None),
        },
        "pool_near_full",
    );
}

#[test]
fn consumer_stopped() {
    check_shm(
        &Case {
            hang: "consumer-stopped",
            rows: &[(Host, OUT, CONVERT, "peer_stopped"); 3],
            root: root(Cell1, "process", None),
        },
        "not_drained",
    );
}

#[test]
fn nothing_is_wrong_with_a_hub_under_load() {
    let demo = Demo::start(&["--transport", "shm", "--rate", "400"]).ready();
    std::thread::sleep(Duration::from_secs(2));
    for _ in 0..5 {
        let dump = Dump::of(tool(&demo));
        assert_eq!(dump.verdicts(&demo), [], "{:#}", dump.0);
        assert_eq!(dump.0["hubs"][0]["findings"], serde_json::json!([]));
    }
}

#[test]
fn a_health_check_fails_where_something_is_stuck() {
    let demo = Demo::start(&["--hang", "chain"]).ready();
    let healthy = run(&mut tool(&demo), &["--fail-if-stuck", "1h"]);
    assert_eq!(healthy.status.code(), Some(0));
    demo.wait_until_background_is_young();
    let stuck = run(&mut tool(&demo), &["--fail-if-stuck", "1s"]);
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
        let dump = Dump::of(tool(&demo));
        assert_eq!(dump.verdicts(&demo), [], "{:#}", dump.0);
        assert_eq!(dump.0["graph"]["roots"], serde_json::json!([]));
    }
}
