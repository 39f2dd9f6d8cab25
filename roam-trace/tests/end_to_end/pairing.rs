//! Eight cells, four connections to each, traffic that never rests: every row is
//! paired with the one that the demo's own log says it is.

use std::collections::HashMap;
use std::path::Path;

use roam_demo::expect::Direction;
use roam_demo::log::{Event, Line};
use roam_demo::service::method::WATCH;
use serde_json::Value;

use crate::demo::{Demo, ReadyDemo};
use crate::dump::{Tracer, wait_for};
use crate::verdicts::with_verdicts;

const CALLS: usize = 96;

/// The callee of every watch call by its tag: process, connection, request id.
fn callees_by_log(log: &Path, pids: &[u32]) -> HashMap<u64, (u64, String, u64)> {
    let mut callees = HashMap::new();
    for &pid in pids {
        let text = std::fs::read_to_string(roam_demo::log::path(log, pid)).unwrap();
        for line in text.lines() {
            let line: Line = serde_json::from_str(line).unwrap();
            if line.method == WATCH
                && line.event == Event::Start
                && line.direction == Direction::Incoming
            {
                let (connection, request_id) = line.wire.unwrap();
                callees.insert(line.tag, (pid.into(), connection, request_id));
            }
        }
    }
    callees
}

/// The tag in the arguments of a call, which the demo records with `ROAM_DEBUG`.
fn tag(row: &Value) -> u64 {
    let arguments = row["arguments"].as_str().unwrap();
    let (_, rest) = arguments.split_once("tag:").unwrap();
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or_else(|_| panic!("{arguments}"))
}

/// A row by its process and serial.
type Key = (u64, String);

fn key(pid: &Value, serial: &Value) -> Key {
    (pid.as_u64().unwrap(), serial.to_string())
}

fn rows(dump: &Value) -> HashMap<Key, Value> {
    dump["processes"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|process| {
            let pid = &process["process"]["pid"];
            process["requests"]
                .as_array()
                .unwrap()
                .iter()
                .map(move |row| (key(pid, &row["serial"]), row.clone()))
        })
        .collect()
}

fn dump(demo: &ReadyDemo) -> Value {
    let output = Tracer::start(&[demo.ready.host], &["--children"]).output();
    assert!(output.status.success());
    with_verdicts(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_row_is_paired_as_the_log_says() {
    let demo = Demo::with(
        |command| {
            command.env("ROAM_DEBUG", "1");
        },
        &[
            "--cells",
            "8",
            "--links",
            "4",
            "--rate",
            "40",
            "--flood",
            &CALLS.to_string(),
        ],
    );
    let log = demo.directory.path().join("log");
    let demo = demo.ready();
    demo.wait_until_background_is_young();
    let callees = callees_by_log(&log, &demo.ready.cells);
    assert_eq!(callees.len(), CALLS);
    for _ in 0..5 {
        // Whatever is paired is paired right. On a machine under load it may take more than one dump.
        let mut unpaired = Vec::new();
        wait_for("every row to be paired", || {
            unpaired = check(&dump(&demo), &callees);
            unpaired.is_empty()
        });
    }
}

/// Checks every pair, and returns the verdicts of calls that have none.
fn check(dump: &Value, callees: &HashMap<u64, (u64, String, u64)>) -> Vec<Value> {
    let rows = rows(dump);
    let graph = &dump["graph"];
    let node = |index: &Value| {
        let node = &graph["nodes"][index.as_u64().unwrap() as usize];
        key(&node["process"]["pid"], &node["serial"])
    };
    let mut paired = 0;
    for edge in graph["edges"].as_array().unwrap() {
        let caller = &rows[&node(&edge["from"])];
        // On a machine under load an ordinary call may take a second too.
        if caller["method"] != WATCH {
            continue;
        }
        let callee_key = node(&edge["to"]);
        // Under load it may wait for a driver that has had no processor for a second.
        let Some(callee) = rows.get(&callee_key) else {
            continue;
        };
        let (pid, connection, request_id) = &callees[&tag(caller)];
        assert_eq!(callee_key.0, *pid, "{edge:#}");
        assert_eq!(callee["connection_name"], **connection, "{edge:#}");
        assert_eq!(callee["request_id"], *request_id, "{edge:#}");
        assert_eq!(callee["arguments"], caller["arguments"], "{edge:#}");
        paired += 1;
    }
    let unpaired: Vec<_> = rows
        .values()
        .filter(|row| row["direction"] == "outgoing" && row["method"] == WATCH)
        .filter(|row| row["verdict"]["code"] != "handler_running")
        .map(|row| row["verdict"].clone())
        .collect();
    assert_eq!(paired + unpaired.len(), CALLS, "{unpaired:#?}");
    unpaired
}
