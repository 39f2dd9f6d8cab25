//! Compares what a dump says with what is true. Whatever it says and is not so is false; what it does not know is
//! no more than missing.

mod graph;
mod json;
mod pairing;
mod root;
mod row;
mod statement;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::scene::Scene;
use json::{list, number, pid, text};
pub(super) use root::Root;

/// What a dump was worth.
#[derive(Default)]
pub(super) struct Judgement {
    pub(super) root: Root,
    /// Statements that are not so, each with its row.
    pub(super) false_statements: Vec<String>,
    /// Connections whose other end the dump calls known.
    pub(super) known: u32,
    /// Connections whose other end it does not know for certain.
    pub(super) unknown: u32,
}

/// Judges a dump, as JSON.
pub(super) fn judge(scene: &Scene, dump: &Value) -> Judgement {
    let mut judge = Judge {
        scene,
        dump,
        judgement: Judgement::default(),
    };
    for process in list(&dump["processes"]) {
        judge.process(pid(process), process);
    }
    judge.graph();
    judge.judgement.root = root::first(scene, dump);
    judge.judgement
}

struct Judge<'a> {
    scene: &'a Scene<'a>,
    dump: &'a Value,
    judgement: Judgement,
}

impl Judge<'_> {
    fn process(&mut self, pid: u32, process: &Value) {
        let (scene, dump) = (self.scene, self.dump);
        for row in list(&process["requests"]).filter(|row| !row["verdict"].is_null()) {
            let [direction, method] = ["direction", "method"].map(|key| text(&row[key]));
            let what = format!("{direction} {method} req_id={}", row["request_id"]);
            let of_row = row::request(scene, pid, row);
            let of_row = of_row.and_then(|()| row::usual(dump, row));
            self.verdict(pid, &what, &row["verdict"], of_row);
        }
        for row in list(&process["channels"]).filter(|row| !row["verdict"].is_null()) {
            let what = format!("channel {}", row["channel_id"]);
            self.verdict(pid, &what, &row["verdict"], row::channel(scene, pid, row));
        }
        for row in list(&process["connections"]) {
            let name = text(&row["name"]);
            let what = format!("connection {name}");
            if !row["verdict"].is_null() {
                self.verdict(
                    pid,
                    &what,
                    &row["verdict"],
                    row::connection(scene, pid, row),
                );
            }
            let Some(truth) = scene.connections.get(&(pid, name.to_owned())) else {
                continue;
            };
            for truth in pairing::untrue(scene, pid, row, truth) {
                self.say_false(pid, &what, "socket and peer", &truth);
            }
            match row["socket"]["confidence"] == "known" {
                true => self.judgement.known += 1,
                false => self.judgement.unknown += 1,
            }
        }
        for finding in list(&process["findings"]) {
            self.verdict(pid, "finding", finding, row::finding(scene, pid, finding));
        }
    }

    fn graph(&mut self) {
        let (scene, graph) = (self.scene, &self.dump["graph"]);
        let nodes: Vec<&Value> = list(&graph["nodes"]).collect();
        let is_row = |node: &Value| ["call", "handler"].contains(&text(&node["node"]));
        for node in nodes.iter().filter(|node| !is_row(node)) {
            let mut untrue = statement::untrue_sentence(scene, self.dump, pid(node), node);
            untrue.extend(graph::untrue_count(scene, node));
            for truth in untrue {
                let sentence = format!("{}: {}", root::describe(scene, node), text(&node["text"]));
                self.say_false(pid(node), "node", &sentence, &truth);
            }
        }
        let rows = graph::Rows::of(self.dump);
        for edge in list(&graph["edges"]) {
            let ends = ["from", "to"].map(|end| nodes.get(number(&edge[end]) as usize));
            if let [Some(from), Some(to)] = ends
                && let Some(truth) = graph::edge(scene, &rows, from, to)
            {
                let [waits, waited_for] = [from, to].map(|node| root::describe(scene, node));
                let sentence = format!("{waits} waits for {waited_for}");
                self.say_false(pid(from), "edge", &sentence, &truth);
            }
        }
        for root in list(&graph["roots"]) {
            if !graph::is_deadlock(scene, &nodes, root) {
                let first = nodes.get(number(&root["nodes"][0]) as usize);
                let sentence = format!("deadlock: {}", root["deadlock"]);
                let pid = first.map_or(0, |node| pid(node));
                self.say_false(pid, "root", &sentence, "there is no such deadlock");
            }
        }
    }

    /// A verdict, and what was found of its row.
    fn verdict(&mut self, pid: u32, what: &str, verdict: &Value, of_row: Result<(), String>) {
        let mut untrue = statement::untrue(self.scene, self.dump, pid, verdict);
        untrue.extend(of_row.err());
        for truth in untrue {
            self.say_false(pid, what, text(&verdict["text"]), &truth);
        }
    }

    fn say_false(&mut self, pid: u32, what: &str, sentence: &str, truth: &str) {
        let name = self.scene.name(pid);
        let line = format!("{name} {what}: \"{sentence}\": {truth}");
        self.judgement.false_statements.push(line);
    }
}
