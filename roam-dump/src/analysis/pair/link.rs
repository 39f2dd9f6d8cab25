//! The two things that pairs are made of: the roots of links, with what their
//! ends saw, and which processes share anything.

use foldhash::{HashMap, HashMapExt};
use roam_trace_common::event::{ConnectionState, Direction, Phase, RequestKind, Role};

use super::ground::SOON_US;
use crate::analysis::facts::{Counters, Moved, Peer, Via};
use crate::analysis::scene::{Endpoint, RowId, Scene};
use crate::model::ProcessState;
use crate::model::{Connection, Request};

/// Calls of a link that are looked for at other ends.
const SAMPLE: usize = 16;
/// What was sent less than that ago may not have arrived yet.
const SETTLED_US: u64 = 100_000;

/// What is known of the root of a link.
pub(super) struct Link {
    pub(super) endpoint: Endpoint,
    role: Option<Role>,
    pub(super) is_open: bool,
    pub(super) opened_us: Option<i64>,
    pub(super) moved: Option<Moved>,
    /// The same at several moments: before the first snapshot of all was taken, with the snapshot, after the
    /// last one, and later on.
    pub(super) looks: Vec<Option<Moved>>,
    /// Whether nothing has moved for a while.
    pub(super) is_quiet: bool,
    /// Whether its driver may have left something in the transport.
    pub(super) is_held_up: bool,
    /// Some of the calls made over it that must have arrived.
    pub(super) calls: Vec<RowId>,
    /// Some of the calls that came over it.
    pub(super) served: Vec<RowId>,
}

pub(super) struct Links {
    pub(super) all: Vec<Link>,
    pub(super) by_endpoint: HashMap<Endpoint, u32>,
    pub(super) virtuals: HashMap<(Endpoint, u64), Endpoint>,
}

impl Links {
    pub(super) fn new(scene: &Scene<'_>) -> Self {
        let mut links = Self {
            all: Vec::new(),
            by_endpoint: HashMap::new(),
            virtuals: HashMap::new(),
        };
        for (process, snapshot) in (0..).zip(scene.snapshots) {
            let pid = snapshot.process.pid;
            for row in &snapshot.connections {
                let [endpoint, link] =
                    [row.serial, row.link].map(|serial| Endpoint { process, serial });
                links.virtuals.insert((link, row.conn_id), endpoint);
                let is_up = matches!(row.state, ConnectionState::Open | ConnectionState::Closed);
                if endpoint != link || !is_up {
                    continue;
                }
                let taken_us = snapshot.taken_ns / 1_000;
                let look = |counters: &Counters| counters.0.get(&(pid, row.serial)).copied();
                let mut looks = vec![look(&scene.facts.before), Moved::of(row)];
                looks.extend(scene.facts.after.iter().map(look));
                links.add(Link {
                    endpoint,
                    role: Some(row.role),
                    is_open: row.state == ConnectionState::Open,
                    opened_us: Some(taken_us as i64 - row.age_us as i64),
                    moved: Moved::of(row),
                    looks,
                    is_quiet: is_quiet(row),
                    is_held_up: is_held_up(scene, endpoint, row),
                    calls: Vec::new(),
                    served: Vec::new(),
                });
            }
        }
        if !scene.both_directions {
            return links;
        }
        for (row, _) in scene.requests() {
            let link = scene.link(scene.endpoint(row));
            if !links.by_endpoint.contains_key(&link) && scene.connection(link).is_none() {
                links.virtuals.insert((link, 0), link);
                links.add(Link {
                    endpoint: link,
                    role: None,
                    is_open: true,
                    opened_us: None,
                    moved: None,
                    looks: Vec::new(),
                    is_quiet: false,
                    is_held_up: false,
                    calls: Vec::new(),
                    served: Vec::new(),
                });
            }
        }
        links.take_samples(scene);
        links
    }

    fn take_samples(&mut self, scene: &Scene<'_>) {
        let mut calls: Vec<Vec<RowId>> = vec![Vec::new(); self.all.len()];
        let mut served = calls.clone();
        for (row, request) in scene.requests() {
            let of = match request.direction {
                Direction::Incoming if request.kind == RequestKind::Call => &mut served,
                Direction::Outgoing if is_settled_call(request) => &mut calls,
                _ => continue,
            };
            if let Some(&link) = self.by_endpoint.get(&scene.link(scene.endpoint(row))) {
                of[link as usize].push(row);
            }
        }
        for (link, (calls, served)) in self.all.iter_mut().zip(calls.into_iter().zip(served)) {
            link.calls = sample(&calls);
            link.served = sample(&served);
        }
    }

    /// By how much the callee of a call started after it, if it is at that link.
    pub(super) fn callee(&self, scene: &Scene<'_>, call: RowId, at: Endpoint) -> Option<i64> {
        let request = scene.request(call);
        let conn_id = scene
            .connection(scene.endpoint(call))
            .map_or(0, |connection| connection.conn_id);
        let there = *self.virtuals.get(&(at, conn_id))?;
        scene
            .rows_of(there, request.request_id, Direction::Incoming)
            .filter(|&callee| scene.request(callee).method_id == request.method_id)
            .map(|callee| {
                let behind_us = scene.started_us(callee) - scene.started_us(call);
                behind_us + scene.tolerance_us([call, callee])
            })
            .filter(|behind_us| (0..=SOON_US).contains(behind_us))
            .min()
    }

    fn add(&mut self, link: Link) {
        self.by_endpoint
            .insert(link.endpoint, self.all.len() as u32);
        self.all.push(link);
    }

    pub(super) fn get(&self, index: u32) -> &Link {
        &self.all[index as usize]
    }

    pub(super) fn may_be_one(&self, a: u32, b: u32) -> bool {
        let (a, b) = (self.get(a), self.get(b));
        a.endpoint != b.endpoint
            && match (a.role, b.role) {
                (Some(a), Some(b)) => a != b,
                _ => true,
            }
    }
}

/// A few of the rows, from all over the list.
fn sample(rows: &[RowId]) -> Vec<RowId> {
    let step = rows.len().div_ceil(SAMPLE).max(1);
    rows.iter().copied().step_by(step).collect()
}

/// Whether a call is written and must be known at the other end by now.
fn is_settled_call(request: &Request) -> bool {
    let is_written = match request.phase {
        Phase::Sent => true,
        Phase::HandedOver => !request.writes_observable,
        _ => false,
    };
    is_written
        && request.direction == Direction::Outgoing
        && request.kind == RequestKind::Call
        && request.age_us >= SETTLED_US
}

fn is_quiet(row: &Connection) -> bool {
    [row.sent, row.received]
        .into_iter()
        .flatten()
        .all(|traffic| traffic.idle_us.is_none_or(|idle_us| idle_us >= SETTLED_US))
}

fn is_held_up(scene: &Scene<'_>, link: Endpoint, row: &Connection) -> bool {
    scene.delivering(link).is_some()
        || scene.life(scene.pid(link.process)) != ProcessState::Alive
        || row.driver.is_some_and(|driver| {
            driver.writing_us.is_some()
                || driver.enqueued > driver.dequeued
                || driver.polled_age_us >= scene.stuck_us
        })
}

/// Which processes are connected, as far as that is known.
pub(super) struct Neighbours {
    via: HashMap<(u32, u32), Via>,
    are_ties_known: Vec<bool>,
}

/// How two processes are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    Shared(Via),
    /// What at least one of them shares with others is not known.
    Unknown,
    /// They share nothing.
    None,
}

impl Neighbours {
    pub(super) fn new(scene: &Scene<'_>) -> Self {
        let mut by_pid: HashMap<u32, Vec<u32>> = HashMap::new();
        for (process, snapshot) in (0..).zip(scene.snapshots) {
            by_pid
                .entry(snapshot.process.pid)
                .or_default()
                .push(process);
        }
        let processes = |pid| by_pid.get(&pid).map_or(&[][..], Vec::as_slice);
        let mut via = HashMap::new();
        for neighbour in &scene.facts.neighbours {
            if let Peer::Process { pid, .. } = neighbour.peer {
                for &a in processes(neighbour.pid) {
                    for &b in processes(pid) {
                        via.insert((a, b), neighbour.via);
                        via.insert((b, a), neighbour.via);
                    }
                }
            }
        }
        Self {
            via,
            are_ties_known: scene
                .snapshots
                .iter()
                .map(|snapshot| {
                    scene
                        .process_facts(snapshot.process.pid)
                        .is_some_and(|facts| facts.are_ties_known)
                })
                .collect(),
        }
    }

    pub(super) fn tie(&self, a: u32, b: u32) -> Tie {
        match self.via.get(&(a, b)) {
            Some(&via) => Tie::Shared(via),
            None if self.are_ties_known[a as usize] && self.are_ties_known[b as usize] => Tie::None,
            None => Tie::Unknown,
        }
    }

    /// The processes that one is known to share something with.
    pub(super) fn of(&self) -> HashMap<u32, Vec<u32>> {
        let mut of: HashMap<u32, Vec<u32>> = HashMap::new();
        for &(a, b) in self.via.keys() {
            of.entry(a).or_default().push(b);
        }
        of
    }
}
