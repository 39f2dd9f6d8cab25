//! The edges of the wait graph, and its deadlocks.

use std::collections::HashMap;

use serde_json::Value;

use super::json::{id, list, number, pid, text};
use crate::incidents::scene::Scene;

/// Handlers that may have started or ended between a dump and the samples of the logs.
const UNDER_WAY: usize = 10;

/// Rows by process, whether they are requests, and serial.
pub(super) struct Rows<'a>(HashMap<(u32, bool, String), &'a Value>);

impl<'a> Rows<'a> {
    pub(super) fn of(dump: &'a Value) -> Self {
        let mut rows = HashMap::new();
        for process in list(&dump["processes"]) {
            for (table, is_request) in [("requests", true), ("connections", false)] {
                for row in list(&process[table]) {
                    rows.insert((pid(process), is_request, id(&row["serial"])), row);
                }
            }
        }
        Self(rows)
    }

    fn of_node(&self, node: &Value) -> Option<&'a Value> {
        let (is_request, serial) = match text(&node["node"]) {
            "call" | "handler" => (true, &node["serial"]),
            "driver" => (false, &node["connection"]),
            _ => return None,
        };
        self.0.get(&(pid(node), is_request, id(serial))).copied()
    }
}

/// What is true if one does not wait for the other.
pub(super) fn edge(scene: &Scene, rows: &Rows, from: &Value, to: &Value) -> Option<String> {
    let row = rows.of_node(from)?;
    let connection = match from["node"] == "driver" {
        true => text(&from["name"]),
        false => text(&row["connection_name"]),
    };
    let other_end = || scene.other_end(pid(from), connection);
    let wire = |node: &Value| scene.wire(pid(node), rows.of_node(node)?);
    let (is_so, truth) = match (text(&from["node"]), text(&to["node"])) {
        ("call", "handler") => (wire(from)? == wire(to)?, "it is another call"),
        ("handler", "call") => {
            let call = scene.caller(&wire(to)?).into_iter().flatten().next()?;
            let is_own = call.parent == scene.tag(&wire(from)?)?;
            (is_own, "it did not make this call")
        }
        ("call" | "handler", "driver") => {
            let driver = (pid(to), text(&to["name"]));
            let is_its = driver == (pid(from), connection) || driver == other_end()?;
            (is_its, "that is not its connection")
        }
        ("driver", "driver") => {
            let is_its = other_end()? == (pid(to), text(&to["name"]));
            (is_its, "they are no pair")
        }
        ("call" | "driver", "process") => {
            let is_its = pid(to) == pid(from) || pid(to) == other_end()?.0;
            (is_its, "that is not its peer")
        }
        _ => return None,
    };
    (!is_so).then(|| truth.to_owned())
}

/// How many handlers of a method run or end, where a node that stands for all of them says something else.
pub(super) fn untrue_count(scene: &Scene, node: &Value) -> Option<String> {
    (node["node"] == "handlers").then_some(())?;
    let ended = scene.ended_meanwhile(pid(node), text(&node["method"]));
    if ended > 0 && text(&node["text"]).contains("nothing ends") {
        return Some(format!("{ended} ended meanwhile"));
    }
    let said = node["running"].as_u64()? as usize;
    let counts = scene.running(pid(node), text(&node["method"]));
    let [least, most] = [counts.iter().min()?, counts.iter().max()?];
    let is_so = said + UNDER_WAY >= *least && said <= most + UNDER_WAY;
    (!is_so).then(|| format!("{least} to {most} run"))
}

/// Whether what a root says is a deadlock may be one. That there might be one is no claim that there is.
pub(super) fn is_deadlock(scene: &Scene, nodes: &[&Value], root: &Value) -> bool {
    let mut members = list(&root["nodes"]).filter_map(|node| nodes.get(number(node) as usize));
    root["deadlock"].is_null()
        || root["deadlock"] == "possible_cycle"
        || members.all(|node| scene.is_one_of("deadlock", pid(node)))
}
