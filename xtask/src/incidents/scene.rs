//! What is true of an application: its own logs, `/proc`, and the truth of the incident that was planted in it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::application::Application;

/// What is true of an application.
pub(super) struct Scene<'a> {
    pub(super) names: HashMap<u32, &'a str>,
    /// Connections by process and name, the open ones and those that closed.
    pub(super) connections: HashMap<(u32, String), Connection>,
    /// The calls before and after the dump.
    pub(super) samples: [Calls; 2],
    /// The letters that `/proc` has for the states of processes; none for one that is gone.
    pub(super) states: HashMap<u32, Option<char>>,
    /// What is true of the incident.
    pub(super) truth: &'a Value,
}

/// A connection as its process logged it.
pub(super) struct Connection {
    pub(super) is_open: bool,
    pub(super) inode: u64,
    pub(super) descriptor: i64,
    pub(super) addresses: [Option<String>; 2],
    pub(super) peer_pid: u32,
    pub(super) peer_name: String,
}

/// The calls that a sample of the logs has.
#[derive(Default)]
pub(super) struct Calls {
    /// Handlers by process, connection and id on the wire.
    incoming: HashMap<Wire, Call>,
    /// Calls that are made, by tag.
    outgoing: HashMap<u64, Call>,
}

/// What names a call at the callee: process, connection and id.
pub(super) type Wire = (u32, String, u64);

#[derive(Clone)]
pub(super) struct Call {
    tag: u64,
    method: String,
    pub(super) parent: u64,
    pub(super) state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Running,
    Answered,
    Dropped,
    Panicked,
}

impl Calls {
    /// Reads the logs of all processes.
    pub(super) fn read(application: &Application) -> Result<Self> {
        let mut calls = Self::default();
        for &pid in application.pids.values() {
            let log = fs::read(application.directory.join(format!("{pid}.calls")))?;
            // A hole of the file is a place that was never used.
            for record in log.split(|&byte| byte == b'\n') {
                let record = String::from_utf8_lossy(record);
                calls.add(pid, record.trim_start_matches('\0'));
            }
        }
        Ok(calls)
    }

    /// Adds a record of a process; `None` for a place that was never used.
    pub(super) fn add(&mut self, pid: u32, record: &str) -> Option<()> {
        let mut fields = record.split('\t');
        let mut next = || fields.next();
        let tag = next()?.parse().ok()?;
        let incoming = next()? == "true";
        let (method, connection) = (next()?.to_owned(), next()?);
        let request_id = next()?.parse().ok()?;
        let parent = next()?.parse().ok()?;
        let state = match next()? {
            "Running" => State::Running,
            "Answered" => State::Answered,
            "Dropped" => State::Dropped,
            _ => State::Panicked,
        };
        let call = Call {
            tag,
            method,
            parent,
            state,
        };
        match incoming {
            true => drop(
                self.incoming
                    .insert((pid, connection.to_owned(), request_id), call),
            ),
            false => drop(self.outgoing.insert(tag, call)),
        }
        Some(())
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        application: &'a Application,
        samples: [Calls; 2],
        truth: &'a Value,
    ) -> Result<Self> {
        let pids = &application.pids;
        Ok(Self {
            names: pids
                .iter()
                .map(|(name, &pid)| (pid, name.as_str()))
                .collect(),
            connections: connections(&application.directory, pids)?,
            samples,
            states: pids.values().map(|&pid| (pid, state(pid))).collect(),
            truth,
        })
    }

    /// What the processes of a list of the truth are, and whether this is one of them.
    pub(super) fn is_one_of(&self, list: &str, pid: u32) -> bool {
        let name = self.name(pid);
        let mut listed = self.truth[list].as_array().into_iter().flatten();
        listed.any(|entry| entry == name || entry[0] == name)
    }

    pub(super) fn process(&self, pid: u32) -> Option<&str> {
        self.names.get(&pid).copied()
    }

    /// The same in words.
    pub(super) fn name(&self, pid: u32) -> &str {
        self.process(pid).unwrap_or("a process of another program")
    }

    pub(super) fn is_stopped(&self, pid: u32) -> bool {
        matches!(self.states.get(&pid), Some(Some('T' | 't')))
    }

    pub(super) fn is_dead(&self, pid: u32) -> bool {
        matches!(self.states.get(&pid), Some(None | Some('Z' | 'X')))
    }

    /// How often a process connected anew, as the names of its connections tell.
    pub(super) fn reconnected(&self, pid: u32) -> u64 {
        let names = self.connections.keys().filter(|(of, _)| *of == pid);
        let own = |name: &str| name.contains('#') && !name.starts_with("from ");
        names.filter(|(_, name)| own(name)).count() as u64
    }

    /// The other end of a connection.
    pub(super) fn other_end(&self, pid: u32, connection: &str) -> Option<(u32, &str)> {
        let connection = self.connections.get(&(pid, connection.to_owned()))?;
        Some((connection.peer_pid, &connection.peer_name))
    }

    /// What a row of a request is called at the callee.
    pub(super) fn wire(&self, pid: u32, row: &Value) -> Option<Wire> {
        let (name, id) = (
            row["connection_name"].as_str()?,
            row["request_id"].as_u64()?,
        );
        match row["direction"] == "incoming" {
            true => Some((pid, name.to_owned(), id)),
            false => {
                let (peer, name) = self.other_end(pid, name)?;
                Some((peer, name.to_owned(), id))
            }
        }
    }

    /// The states of a handler before and after the dump; none if it has not started. A proxy logs none.
    pub(super) fn handler(&self, wire: &Wire) -> Option<[Option<State>; 2]> {
        (self.name(wire.0) != "proxy")
            .then(|| self.calls(wire).map(|call| call.map(|call| call.state)))
    }

    fn calls(&self, wire: &Wire) -> [Option<&Call>; 2] {
        [0, 1].map(|sample: usize| self.samples[sample].incoming.get(wire))
    }

    /// The call that a wire name belongs to, as its caller logged it: before and after the dump.
    pub(super) fn caller(&self, wire: &Wire) -> [Option<&Call>; 2] {
        let tag = self
            .calls(wire)
            .into_iter()
            .flatten()
            .map(|call| call.tag)
            .next();
        [0, 1].map(|sample: usize| self.samples[sample].outgoing.get(&tag?))
    }

    /// How many handlers of a method run in a process, before and after the dump.
    pub(super) fn running(&self, pid: u32, method: &str) -> [usize; 2] {
        [0, 1].map(|sample: usize| {
            let calls = self.samples[sample].incoming.iter();
            let running = calls.filter(|((of, ..), call)| {
                *of == pid && call.method == method && call.state == State::Running
            });
            running.count()
        })
    }

    /// How many handlers of a method ran before the dump and had answered after it.
    pub(super) fn ended_meanwhile(&self, pid: u32, method: &str) -> usize {
        let [before, after] = &self.samples;
        let calls = before.incoming.iter().filter(|(wire, call)| {
            wire.0 == pid
                && call.method == method
                && call.state == State::Running
                && after
                    .incoming
                    .get(wire)
                    .is_some_and(|call| call.state == State::Answered)
        });
        calls.count()
    }

    /// The tag of a handler.
    pub(super) fn tag(&self, wire: &Wire) -> Option<u64> {
        self.calls(wire)
            .into_iter()
            .flatten()
            .map(|call| call.tag)
            .next()
    }
}

fn connections(
    directory: &Path,
    pids: &BTreeMap<String, u32>,
) -> Result<HashMap<(u32, String), Connection>> {
    let mut all = HashMap::new();
    for &pid in pids.values() {
        let log = fs::read_to_string(directory.join(format!("{pid}.connections")))?;
        for line in log.lines() {
            let line: Value = serde_json::from_str(line)?;
            let text = |key: &str| line[key].as_str().map(str::to_owned);
            let number = |key: &str| line[key].as_i64().with_context(|| format!("no {key}"));
            let connection = Connection {
                is_open: line["open"] == true,
                inode: number("inode")? as u64,
                descriptor: number("descriptor")?,
                addresses: [text("local"), text("remote")],
                peer_pid: number("peer_pid")? as u32,
                peer_name: text("peer_name").context("no name")?,
            };
            all.insert((pid, text("name").context("no name")?), connection);
        }
    }
    Ok(all)
}

/// The letter that `/proc` has for the state of a process.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.trim_start().chars().next()
}
