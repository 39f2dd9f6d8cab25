//! What stands first in a dump.

use serde_json::{Value, json};

use super::json::{list, number, pid, text};
use crate::incidents::scene::Scene;

/// What stands first.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Root {
    /// The true root.
    Right,
    /// Nothing, or something that says that it does not know.
    #[default]
    Unknown,
    /// Something else.
    Wrong(String),
}

/// Codes that say that something is not known.
const UNKNOWN: [&str; 3] = ["peer_ambiguous", "peer_silent", "no_response"];

/// Compares what stands first in a dump with what may.
pub(super) fn first(scene: &Scene, dump: &Value) -> Root {
    let graph = &dump["graph"];
    // What is no reason for an alarm alarms nobody.
    let is_alarm = |root: &&Value| root["is_alarm"] != false || scene.truth["is_alarm"] == false;
    let mut roots = list(&graph["roots"]).filter(is_alarm);
    let Some(first) = roots.next() else {
        return of_findings(scene, dump);
    };
    let nodes = list(&first["nodes"]).filter_map(|node| graph["nodes"].get(number(node) as usize));
    let nodes: Vec<_> = nodes.collect();
    if nodes.iter().any(|node| is_true(scene, node)) {
        return Root::Right;
    }
    if nodes
        .iter()
        .any(|node| UNKNOWN.contains(&text(&node["code"])))
    {
        return Root::Unknown;
    }
    let names: Vec<_> = nodes.iter().map(|node| describe(scene, node)).collect();
    Root::Wrong(names.join(", "))
}

/// Without a graph: what is said of a process as a whole, or of its connections.
fn of_findings(scene: &Scene, dump: &Value) -> Root {
    let mut right = list(&dump["processes"]).filter(|process| {
        let node = json!({ "process": process["process"], "node": "process" });
        is_true(scene, &node)
    });
    let is_found = right.any(|process| {
        let mut connections = list(&process["connections"]);
        list(&process["findings"]).next().is_some()
            || connections.any(|row| !row["verdict"].is_null())
    });
    if is_found { Root::Right } else { Root::Unknown }
}

fn is_true(scene: &Scene, node: &Value) -> bool {
    let is_of = |names: &Value, value: &Value| {
        let mut names = list(names).peekable();
        names.peek().is_none() || names.any(|name| name == value)
    };
    let kind = text(&node["node"]);
    let is_kind = |root: &Value| {
        // One node may stand for all handlers of a method.
        is_of(&root["nodes"], &kind.into())
            || kind == "handlers" && is_of(&root["nodes"], &"handler".into())
    };
    let has_method = ["call", "handler", "handlers"].contains(&kind);
    list(&scene.truth["roots"]).any(|root| {
        root["process"] == scene.name(pid(node))
            && is_kind(root)
            && (!has_method || is_of(&root["methods"], &node["method"]))
    })
}

/// A node in a few words.
pub(super) fn describe(scene: &Scene, node: &Value) -> String {
    let what = match text(&node["node"]) {
        "driver" => text(&node["name"]),
        _ => text(&node["method"]),
    };
    format!("{} {} {what}", scene.name(pid(node)), text(&node["node"]))
}
