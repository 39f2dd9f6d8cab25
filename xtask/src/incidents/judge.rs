//! Compares what a dump says with what is true. Whatever it says and is not so is false; what it does not know is
//! no more than missing.

use std::collections::HashMap;

use serde_json::Value;

use super::scene::{Scene, State};

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

/// What stood first.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub(super) enum Root {
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

/// Judges a dump, as JSON.
pub(super) fn judge(scene: &Scene, dump: &Value) -> Judgement {
    let mut judge = Judge {
        scene,
        dump,
        rows: HashMap::new(),
        judgement: Judgement::default(),
    };
    for process in list(&dump["processes"]) {
        let pid = number(&process["process"]["pid"]);
        for table in ["requests", "connections"] {
            for row in list(&process[table]) {
                judge
                    .rows
                    .insert((pid, table == "requests", id(&row["serial"])), row);
            }
        }
    }
    judge.processes();
    judge.graph();
    judge.judgement.root = judge.root();
    judge.judgement
}

struct Judge<'a> {
    scene: &'a Scene<'a>,
    dump: &'a Value,
    /// Rows by process, whether they are requests, and serial.
    rows: HashMap<(u32, bool, String), &'a Value>,
    judgement: Judgement,
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap_or(0) as u32
}

/// Ids are numbers, and beyond 2^53 strings.
fn id(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

impl<'a> Judge<'a> {
    fn say_false(&mut self, pid: u32, what: &str, sentence: &str, truth: &str) {
        let name = self.scene.name(pid);
        let line = format!("{name} {what}: \"{sentence}\": {truth}");
        self.judgement.false_statements.push(line);
    }

    fn processes(&mut self) {
        let dump = self.dump;
        for process in list(&dump["processes"]) {
            let pid = number(&process["process"]["pid"]);
            for row in list(&process["requests"]) {
                self.request(pid, row);
            }
            for row in list(&process["channels"]) {
                let what = format!("channel {}", row["channel_id"]);
                self.verdict(pid, &what, &row["verdict"]);
                let code = text(&row["verdict"]["code"]);
                let expected = match code {
                    "writer_gone" => self.scene.is_one_of("writer_gone", pid),
                    "reader_gone" => false,
                    _ => true,
                };
                if !expected {
                    let sentence = text(&row["verdict"]["text"]);
                    self.say_false(pid, &what, sentence, "both ends are there");
                }
            }
            for row in list(&process["connections"]) {
                self.connection(pid, row);
            }
            self.findings(pid, process);
        }
    }

    /// Findings about a process as a whole, in whatever list they stand.
    fn findings(&mut self, pid: u32, process: &Value) {
        const ROWS: [&str; 6] = [
            "gaps",
            "requests",
            "channels",
            "connections",
            "methods",
            "tables",
        ];
        let lists = process.as_object().into_iter().flatten();
        for (key, value) in lists.filter(|(key, _)| !ROWS.contains(&key.as_str())) {
            for finding in list(value).filter(|finding| finding["code"].is_string()) {
                self.verdict(pid, key, finding);
                let (code, sentence) = (text(&finding["code"]), text(&finding["text"]));
                let truth = match code {
                    "descriptors" | "descriptors_low" | "few_descriptors" => "descriptors",
                    "not_connected" | "links_lost" | "link_lost" | "reconnecting" => "retrying",
                    _ => continue,
                };
                if !self.scene.is_one_of(truth, pid) {
                    self.say_false(pid, key, sentence, "it is not so");
                }
            }
        }
    }

    fn request(&mut self, pid: u32, row: &Value) {
        let verdict = &row["verdict"];
        if verdict.is_null() {
            return;
        }
        let method = text(&row["method"]);
        let direction = text(&row["direction"]);
        let what = format!("{direction} {method} req_id={}", row["request_id"]);
        self.verdict(pid, &what, verdict);
        if let Err(truth) = self.is_request_so(pid, row, verdict) {
            self.say_false(pid, &what, text(&verdict["text"]), &truth);
        }
    }

    /// Whether what is said of a request is so, and otherwise what is.
    fn is_request_so(&self, pid: u32, row: &Value, verdict: &Value) -> Result<(), String> {
        let scene = self.scene;
        let (code, sentence) = (text(&verdict["code"]), text(&verdict["text"]));
        let is_incoming = row["direction"] == "incoming";
        let Some(wire) = scene.wire(pid, row) else {
            return Ok(());
        };
        // A handler of the proxy is nobody's code, and in no log.
        let Some(handler) = scene.handler(&wire) else {
            return Ok(());
        };
        let callee = scene.name(wire.0);
        let ensure = |so: bool, truth: &str| so.then_some(()).ok_or_else(|| truth.to_owned());
        let is = |state| handler.contains(&Some(state));
        if !is_incoming {
            let callees = list(&verdict["evidence"]).filter(|fact| fact["relation"] == "callee");
            for fact in callees {
                ensure(
                    number(&fact["pid"]) == wire.0,
                    &format!("{callee} is the callee"),
                )?;
            }
        }
        match code {
            "handler_running" => ensure(
                is(State::Running),
                &format!("the handler in {callee} is {handler:?}"),
            ),
            "handler_not_started" => ensure(handler.contains(&None), "the handler has started"),
            "not_sent" => ensure(handler.contains(&None), "the callee has it"),
            "no_response" | "peer_silent" if sentence.contains("neither received nor answered") => {
                ensure(handler.contains(&None), "the callee has received it")
            }
            "response_not_sent" => ensure(
                !(is(State::Running) && handler[0] == handler[1]),
                "the handler still runs",
            ),
            "response_not_read" => ensure(
                !(is(State::Running) && handler[0] == handler[1]),
                "the handler still runs",
            ),
            "no_answer" => ensure(is(State::Panicked), "the handler did not panic"),
            "caller_gone" => {
                let caller = scene.caller(&wire);
                let gone = caller
                    .iter()
                    .flatten()
                    .any(|call| call.state != State::Running);
                let peer = scene.other_end(pid, text(&row["connection_name"]));
                let dead = peer.is_some_and(|(peer, _)| scene.is_dead(peer));
                let known = caller.iter().flatten().next().is_some();
                ensure(gone || dead || !known, "its caller waits for it")
            }
            "connection_closed" => {
                let name = text(&row["connection_name"]).to_owned();
                let connection = scene.connections.get(&(pid, name));
                let closed = connection.is_none_or(|connection| {
                    !connection.is_open || scene.is_dead(connection.peer_pid)
                });
                ensure(closed, "its connection is open")
            }
            "usual" => {
                let method = text(&row["method"]);
                let usual = list(scene.usual).any(|usual| usual == method);
                ensure(usual, "its calls are short by nature")
            }
            "runtime_starved" if !is_incoming => {
                // Whose driver it is, the evidence says; that is looked at by all verdicts.
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What any verdict can say, whatever it is of.
    fn verdict(&mut self, pid: u32, what: &str, verdict: &Value) {
        if verdict.is_null() {
            return;
        }
        let sentence = text(&verdict["text"]).to_owned();
        let code = text(&verdict["code"]);
        let mut wrong = Vec::new();
        for fact in list(&verdict["evidence"]) {
            wrong.extend(self.fact(pid, code, fact));
        }
        wrong.extend(self.sentence(pid, code, &sentence));
        if code == "inconsistent" {
            wrong.push("both ends agree".to_owned());
        }
        wrong.dedup();
        for truth in wrong {
            self.say_false(pid, what, &sentence, &truth);
        }
    }

    fn fact(&self, pid: u32, code: &str, fact: &Value) -> Option<String> {
        let scene = self.scene;
        let of = fact["pid"].as_u64().map_or(pid, |pid| pid as u32);
        let wrong = match text(&fact["fact"]) {
            "driver" if code == "runtime_starved" => !self.may_starve(of),
            "driver" if code == "write_blocked" => !scene.is_one_of("write_blocked", of),
            "delivering" => !scene.is_one_of("full", of),
            "process" => match text(&fact["state"]) {
                "stopped" => !scene.is_stopped(of),
                "dead" => !scene.is_dead(of),
                _ => false,
            },
            "cycle" => {
                let mut members = list(&fact["processes"]).map(|process| number(&process["pid"]));
                !members.all(|pid| scene.is_one_of("deadlock", pid))
            }
            _ => false,
        };
        wrong.then(|| match text(&fact["fact"]) {
            "cycle" => "there is no such deadlock".to_owned(),
            _ => format!("{} is not in that state", scene.name(of)),
        })
    }

    /// Whether a driver of a process may have work and not run.
    fn may_starve(&self, pid: u32) -> bool {
        let scene = self.scene;
        ["blocked", "blocked_links"]
            .iter()
            .any(|list| scene.is_one_of(list, pid))
            || scene.is_stopped(pid)
            || scene.is_dead(pid)
    }

    /// What a sentence says besides its code and its evidence.
    fn sentence(&self, pid: u32, code: &str, sentence: &str) -> Vec<String> {
        let scene = self.scene;
        let mut wrong = Vec::new();
        if sentence.contains("shares no socket") {
            wrong.push("it has neighbours".to_owned());
        }
        if code == "runtime_starved" && !sentence.contains(['[']) && !self.may_starve(pid) {
            wrong.push(format!("{} runs", scene.name(pid)));
        }
        if let Some((_, reader)) = sentence.split_once(", which ")
            && let Some((reader, _)) = reader.split_once(" (req_id=")
            && sentence.contains("does not read")
        {
            let mut full = list(&scene.truth["full"]);
            if !full.any(|full| full[1] == reader) {
                wrong.push(format!("{reader} is not what reads it"));
            }
        }
        for (name, pid, rest) in processes_of(sentence) {
            let Some(&truth) = scene.names.get(&pid) else {
                wrong.push(format!("{name}[{pid}] is no process of the application"));
                continue;
            };
            let so = if rest.starts_with(" is stopped") {
                scene.is_stopped(pid)
            } else if rest.starts_with(" is dead") || rest.starts_with(" is a zombie") {
                scene.is_dead(pid)
            } else if rest.starts_with(" not traced") {
                !list(&self.dump["processes"]).any(|process| process["process"]["pid"] == pid)
            } else {
                true
            };
            if !so {
                wrong.push(format!("that is not so of {truth}"));
            }
        }
        wrong
    }

    fn connection(&mut self, pid: u32, row: &Value) {
        let name = text(&row["name"]).to_owned();
        let what = format!("connection {name}");
        let (scene, verdict) = (self.scene, &row["verdict"]);
        self.verdict(pid, &what, verdict);
        let sentence = text(&verdict["text"]);
        let truth = match text(&verdict["code"]) {
            "runtime_starved" if scene.is_one_of("blocked_links", pid) => {
                let mut links = list(&scene.truth["blocked_links"]);
                (!links.any(|link| link[1] == name)).then_some("its driver runs")
            }
            "not_connected" => (!scene.is_one_of("retrying", pid)).then_some("it has its links"),
            "write_blocked" => {
                (!scene.is_one_of("write_blocked", pid)).then_some("nothing fills its socket")
            }
            _ => None,
        };
        if let Some(truth) = truth {
            self.say_false(pid, &what, sentence, truth);
        }
        if let Some(connection) = scene.connections.get(&(pid, name)) {
            self.pairing(pid, &what, row, connection);
        }
    }

    /// The socket of a connection and the process at its other end.
    fn pairing(
        &mut self,
        pid: u32,
        what: &str,
        row: &Value,
        connection: &super::scene::Connection,
    ) {
        let (socket, peer) = (&row["socket"], &row["peer"]);
        let mut wrong = Vec::new();
        if !peer.is_null() && number(&peer["pid"]) != connection.peer_pid {
            let (named, truth) = (number(&peer["pid"]), connection.peer_pid);
            let [named, truth] = [named, truth].map(|pid| self.scene.name(pid));
            wrong.push(format!("its peer is {truth}, not {named}"));
        }
        if !socket.is_null() {
            if socket["descriptor"].as_i64() != Some(connection.descriptor) {
                wrong.push(format!("its descriptor is {}", connection.descriptor));
            }
            for (key, address) in ["local", "remote"].iter().zip(&connection.addresses) {
                let named = socket[key].as_str();
                if let (Some(named), Some(address)) = (named, address)
                    && named != address
                {
                    wrong.push(format!("its {key} address is {address}, not {named}"));
                }
            }
            let link = std::fs::read_link(format!("/proc/{pid}/fd/{}", connection.descriptor));
            let inode = format!("socket:[{}]", connection.inode);
            if connection.is_open && link.is_ok_and(|link| link.as_os_str() != inode.as_str()) {
                wrong.push("its log contradicts /proc".to_owned());
            }
        }
        match socket["confidence"] == "known" {
            true => self.judgement.known += 1,
            false => self.judgement.unknown += 1,
        }
        for truth in wrong {
            self.say_false(pid, what, "socket and peer", &truth);
        }
    }

    fn graph(&mut self) {
        let graph = &self.dump["graph"];
        let nodes: Vec<&Value> = list(&graph["nodes"]).collect();
        for node in nodes
            .iter()
            .filter(|node| node["node"] == "process" || node["node"] == "driver")
        {
            let pid = number(&node["process"]["pid"]);
            let code = text(&node["code"]);
            let sentence = text(&node["text"]);
            for truth in self.sentence(pid, code, sentence) {
                self.say_false(pid, "node", sentence, &truth);
            }
        }
        for edge in list(&graph["edges"]) {
            let [from, to] = ["from", "to"].map(|end| nodes.get(number(&edge[end]) as usize));
            if let (Some(from), Some(to)) = (from, to)
                && let Some(truth) = self.edge(from, to)
            {
                let pid = number(&from["process"]["pid"]);
                let [from, to] = [from, to].map(|node| self.node_name(node));
                self.say_false(pid, "edge", &format!("{from} waits for {to}"), &truth);
            }
        }
        for root in list(&graph["roots"]).filter(|root| !root["deadlock"].is_null()) {
            let members =
                list(&root["nodes"]).filter_map(|&ref node| nodes.get(number(node) as usize));
            let pids: Vec<_> = members
                .map(|node| number(&node["process"]["pid"]))
                .collect();
            // That there might be one is no claim that there is.
            let possible = root["deadlock"] == "possible";
            if !possible
                && !pids
                    .iter()
                    .all(|&pid| self.scene.is_one_of("deadlock", pid))
            {
                let pid = pids.first().copied().unwrap_or(0);
                let kind = format!("deadlock, {}", text(&root["deadlock"]));
                self.say_false(pid, "root", &kind, "there is no such deadlock");
            }
        }
    }

    fn node_name(&self, node: &Value) -> String {
        let name = self.scene.name(number(&node["process"]["pid"]));
        let rest = match text(&node["node"]) {
            "driver" => text(&node["name"]),
            _ => text(&node["method"]),
        };
        format!("{name} {} {rest}", text(&node["node"]))
    }

    fn row(&self, node: &Value) -> Option<&'a Value> {
        let pid = number(&node["process"]["pid"]);
        let (is_request, serial) = match text(&node["node"]) {
            "call" | "handler" => (true, &node["serial"]),
            "driver" => (false, &node["connection"]),
            _ => return None,
        };
        self.rows.get(&(pid, is_request, id(serial))).copied()
    }

    /// What is true if one does not wait for the other.
    fn edge(&self, from: &Value, to: &Value) -> Option<String> {
        let scene = self.scene;
        let [from_pid, to_pid] = [from, to].map(|node| number(&node["process"]["pid"]));
        let row = self.row(from)?;
        match (text(&from["node"]), text(&to["node"])) {
            ("call", "handler") => {
                let (wire, callee) = (
                    scene.wire(from_pid, row)?,
                    scene.wire(to_pid, self.row(to)?)?,
                );
                (wire != callee).then(|| format!("its callee is {wire:?}"))
            }
            ("handler", "call") => {
                let made_for = scene.caller(&scene.wire(to_pid, self.row(to)?)?);
                let parent = made_for.into_iter().flatten().next()?.parent;
                let tag = scene.tag(&scene.wire(from_pid, row)?)?;
                (parent != tag).then(|| "it did not make this call".to_owned())
            }
            ("call" | "handler", "driver") => {
                let name = text(&row["connection_name"]);
                let driver = text(&to["name"]);
                let own = from_pid == to_pid && name == driver;
                let other = scene.other_end(from_pid, name)?;
                (!own && other != (to_pid, driver))
                    .then(|| "it has nothing to do with it".to_owned())
            }
            ("driver", "driver") => {
                let other = scene.other_end(from_pid, text(&from["name"]))?;
                (other != (to_pid, text(&to["name"]))).then(|| "they are no pair".to_owned())
            }
            ("call" | "driver", "process") => {
                let name = if from["node"] == "driver" {
                    &from["name"]
                } else {
                    &row["connection_name"]
                };
                let (peer, _) = scene.other_end(from_pid, text(name))?;
                (to_pid != from_pid && to_pid != peer).then(|| "that is not its peer".to_owned())
            }
            _ => None,
        }
    }

    fn root(&self) -> Root {
        let graph = &self.dump["graph"];
        let Some(first) = list(&graph["roots"]).next() else {
            return self.finding_as_root();
        };
        let nodes =
            list(&first["nodes"]).filter_map(|node| graph["nodes"].get(number(node) as usize));
        let nodes: Vec<_> = nodes.collect();
        if nodes.iter().any(|node| self.is_true_root(node)) {
            return Root::Right;
        }
        if nodes
            .iter()
            .any(|node| UNKNOWN.contains(&text(&node["code"])))
        {
            return Root::Unknown;
        }
        let names: Vec<_> = nodes.iter().map(|node| self.node_name(node)).collect();
        Root::Wrong(names.join(", "))
    }

    /// Without a graph, what is said of the right process as a whole.
    fn finding_as_root(&self) -> Root {
        let is_found = list(&self.dump["processes"]).any(|process| {
            let node = serde_json::json!({ "process": process["process"], "node": "process" });
            let lists = process.as_object().into_iter().flatten();
            let mut findings = lists
                .filter(|(key, _)| !["requests", "channels"].contains(&key.as_str()))
                .flat_map(|(_, value)| list(value));
            self.is_true_root(&node)
                && findings
                    .any(|finding| finding["code"].is_string() || !finding["verdict"].is_null())
        });
        if is_found { Root::Right } else { Root::Unknown }
    }

    fn is_true_root(&self, node: &Value) -> bool {
        let name = self.scene.name(number(&node["process"]["pid"]));
        list(&self.scene.truth["roots"]).any(|root| {
            let is_of = |names: &Value, value: &Value| {
                let mut names = list(names).peekable();
                names.peek().is_none() || names.any(|name| name == value)
            };
            let has_method = ["call", "handler"].contains(&text(&node["node"]));
            root["process"] == name
                && is_of(&root["nodes"], &node["node"])
                && (!has_method || is_of(&root["methods"], &node["method"]))
        })
    }
}

/// The processes that a sentence names, each with what follows.
fn processes_of(sentence: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    sentence.match_indices('[').filter_map(|(open, _)| {
        let (pid, rest) = sentence[open + 1..].split_once(']')?;
        let name = sentence[..open].rsplit([' ', ',', ';', '(']).next()?;
        Some((name, pid.parse().ok()?, rest))
    })
}
