use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Root, judge};
use crate::incidents::scene::{Calls, Connection, Scene};

/// A gateway that calls a catalog, which runs one handler and has answered another. The catalog is stopped.
fn scene(truth: &Value) -> Scene<'_> {
    let connection = |descriptor, peer_pid, peer_name: &str| Connection {
        is_open: true,
        inode: 0,
        descriptor,
        addresses: [None, Some("127.0.0.1:1".to_owned())],
        peer_pid,
        peer_name: peer_name.to_owned(),
    };
    let connections = [
        (
            (1, "catalog/1".to_owned()),
            connection(7, 2, "from gateway/1"),
        ),
        (
            (2, "from gateway/1".to_owned()),
            connection(8, 1, "catalog/1"),
        ),
    ];
    let calls = || {
        let mut calls = Calls::default();
        for (pid, record) in [
            (1, "100\tfalse\tCatalog.find\tcatalog/1\t0\t50\tRunning\t"),
            (
                2,
                "100\ttrue\tCatalog.find\tfrom gateway/1\t5\t0\tRunning\t",
            ),
            (
                2,
                "101\ttrue\tCatalog.find\tfrom gateway/1\t6\t0\tAnswered\t",
            ),
        ] {
            calls.add(pid, record);
        }
        calls
    };
    Scene {
        names: HashMap::from([(1, "gateway"), (2, "catalog")]),
        connections: connections.into(),
        samples: [calls(), calls()],
        states: HashMap::from([(1, Some('S')), (2, Some('T'))]),
        truth,
    }
}

fn dump(rows: Value, graph: Value) -> Value {
    json!({
        "processes": [
            { "process": { "pid": 1, "name": "gateway" }, "requests": rows },
            { "process": { "pid": 2, "name": "catalog" }, "connections": [
                { "name": "from gateway/1", "serial": 1, "peer": { "pid": 1 },
                    "socket": { "descriptor": 8, "confidence": "known" } },
            ] },
        ],
        "graph": graph,
    })
}

/// What is said of the gateway's call with that id; `None` if nothing of it is false.
#[track_caller]
fn check(request_id: u64, code: &str, sentence: &str, evidence: Value, truth: Option<&str>) {
    let row = json!({
        "direction": "outgoing", "method": "Catalog.find", "connection_name": "catalog/1",
        "request_id": request_id, "serial": 3,
        "verdict": { "code": code, "text": sentence, "evidence": evidence },
    });
    let no_truth = json!({});
    let judgement = judge(&scene(&no_truth), &dump(json!([row]), json!({})));
    let found = judgement.false_statements.first();
    let found = found.map(|line| line.rsplit("\": ").next().unwrap_or(""));
    assert_eq!(found, truth, "{sentence}");
    assert_eq!((judgement.known, judgement.unknown), (1, 0));
}

#[test]
fn what_is_said_of_a_call() {
    let callee = |pid| json!([{ "fact": "row", "relation": "callee", "pid": pid }]);
    let none = || json!([]);
    let received = Some("catalog has received it");
    check(5, "handler_running", "it runs", callee(2), None);
    check(
        5,
        "handler_running",
        "it runs",
        callee(1),
        Some("catalog is its callee"),
    );
    check(
        6,
        "handler_running",
        "it runs",
        none(),
        Some("the handler in catalog is [Some(Answered), Some(Answered)]"),
    );
    check(7, "not_sent", "not sent", none(), None);
    check(
        5,
        "not_sent",
        "not sent",
        none(),
        Some("catalog has started it"),
    );
    let neither = "sent, but catalog[2] has neither received nor answered it";
    check(7, "no_response", neither, none(), None);
    check(6, "no_response", neither, none(), received);
    check(
        5,
        "no_answer",
        "it panicked",
        none(),
        Some("the handler did not panic"),
    );
    check(
        5,
        "usual",
        "usual",
        none(),
        Some("it takes longer than usual"),
    );
    check(
        5,
        "inconsistent",
        "they differ",
        none(),
        Some("both ends agree"),
    );
}

#[test]
fn what_is_said_of_processes() {
    let none = || json!([]);
    let state = |pid| json!([{ "fact": "process", "pid": pid, "state": "stopped" }]);
    check(
        5,
        "peer_stopped",
        "peer catalog[2] is stopped by a signal",
        state(2),
        None,
    );
    check(
        5,
        "peer_stopped",
        "stopped",
        state(1),
        Some("gateway is not in that state"),
    );
    check(
        5,
        "peer_dead",
        "peer catalog[2] is dead",
        none(),
        Some("catalog is not in that state"),
    );
    check(
        5,
        "peer_silent",
        "peer catalog[2] not traced: run it as root",
        none(),
        Some("catalog is not in that state"),
    );
    check(
        5,
        "no_response",
        "peer not found: this process shares no socket or memory",
        none(),
        Some("it has neighbours"),
    );
    let driver = json!([{ "fact": "driver", "pid": 1 }]);
    check(
        5,
        "runtime_starved",
        "its runtime is starved",
        driver,
        Some("gateway is not in that state"),
    );
    check(
        5,
        "runtime_starved",
        "catalog[2]: its runtime is starved",
        none(),
        None,
    );
    let cycle = json!([{ "fact": "cycle", "processes": [{ "pid": 1 }] }]);
    check(
        5,
        "deadlock",
        "deadlock",
        cycle,
        Some("there is no such deadlock"),
    );
    let full =
        "the driver waits for room in channel 5, which Catalog.export (req_id=1) does not read";
    check(
        5,
        "driver_blocked",
        full,
        none(),
        Some("Catalog.export is not what is to read it"),
    );
}

#[track_caller]
fn check_root(nodes: Value, edges: Value, expected: &Root, truth: Option<&str>) {
    let root = json!({ "roots": [{ "process": "catalog", "nodes": ["handler"], "methods": ["Catalog.find"] }] });
    let rows = json!([{ "serial": 3, "direction": "outgoing", "connection_name": "catalog/1", "request_id": 5 }]);
    let graph =
        json!({ "nodes": nodes, "edges": edges, "roots": [{ "nodes": [0], "deadlock": null }] });
    let judgement = judge(&scene(&root), &dump(rows, graph));
    assert_eq!(&judgement.root, expected);
    let found = judgement.false_statements.first();
    assert_eq!(
        found.map(|line| line.rsplit("\": ").next().unwrap_or("")),
        truth
    );
}

#[test]
fn what_stands_first() {
    let node = |pid: u32, node: &str, method: &str, code: &str| json!({ "process": { "pid": pid }, "node": node, "method": method, "code": code, "serial": 3 });
    let find = node(2, "handler", "Catalog.find", "handler_running");
    let call = node(1, "call", "Catalog.find", "no_response");
    let victim = node(1, "call", "Catalog.find", "handler_running");
    check_root(json!([find]), json!([]), &Root::Right, None);
    check_root(json!([call]), json!([]), &Root::Unknown, None);
    let wrong = Root::Wrong("gateway call Catalog.find".to_owned());
    check_root(json!([victim]), json!([]), &wrong, None);
    let own =
        json!({ "process": { "pid": 1 }, "node": "driver", "name": "catalog/2", "connection": 4 });
    let edge = json!([{ "from": 0, "to": 1 }]);
    check_root(
        json!([victim, own]),
        edge,
        &wrong,
        Some("that is not its connection"),
    );
}
