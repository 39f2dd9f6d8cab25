//! The roots of links, with what their ends saw.

use foldhash::{HashMap, HashMapExt};
use roam_trace_common::event::{ConnectionState, Direction, Phase, RequestKind, Role};

use crate::analysis::facts::{CounterSample, Counters};
use crate::analysis::index::{Endpoint, RowId, SETTLED_US, SnapshotIndex, TOLERANCE_US};
use crate::model::{Connection, ProcessState, Request};

/// How long after the caller's start a callee may start while nothing else is known.
pub(super) const SOON_US: i64 = 1_000_000;
/// Calls of a link that are looked up at other ends.
const PICKED_CALLS: usize = 16;

/// What is known of the root of a link.
pub(super) struct Link {
    pub(super) endpoint: Endpoint,
    role: Option<Role>,
    pub(super) is_open: bool,
    pub(super) opened_us: Option<i64>,
    pub(super) counters: Option<Counters>,
    /// The same at several moments: before the first snapshot of all was taken, with the snapshot, after the
    /// last one, and later on.
    pub(super) samples: Vec<Option<Counters>>,
    /// Whether nothing has moved for a while.
    pub(super) is_quiet: bool,
    /// Whether its driver may have left something in the transport.
    pub(super) is_held_up: bool,
    /// Some of the calls made over it that must have arrived.
    pub(super) calls: Vec<RowId>,
    /// Some of the calls that came over it.
    pub(super) served: Vec<RowId>,
}

impl Link {
    /// A link of which nothing is known.
    fn without_row(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            role: None,
            is_open: true,
            opened_us: None,
            counters: None,
            samples: Vec::new(),
            is_quiet: false,
            is_held_up: false,
            calls: Vec::new(),
            served: Vec::new(),
        }
    }
}

/// Every link, and how it is found by one of its connections.
pub(super) struct LinkIndex {
    pub(super) all: Vec<Link>,
    pub(super) by_endpoint: HashMap<Endpoint, u32>,
    pub(super) virtuals: HashMap<(Endpoint, u64), Endpoint>,
}

impl LinkIndex {
    pub(super) fn new(index: &SnapshotIndex<'_>) -> Self {
        let mut links = Self {
            all: Vec::new(),
            by_endpoint: HashMap::new(),
            virtuals: HashMap::new(),
        };
        for (process, snapshot) in (0..).zip(index.snapshots) {
            for row in &snapshot.connections {
                links.add_connection(index, process, row);
            }
        }
        if index.both_directions {
            links.add_without_rows(index);
            links.pick_calls(index);
        }
        links
    }

    fn add_connection(&mut self, index: &SnapshotIndex<'_>, process: u32, row: &Connection) {
        let [endpoint, link] = [row.serial, row.link].map(|serial| Endpoint { process, serial });
        self.virtuals.insert((link, row.conn_id), endpoint);
        let is_up = matches!(row.state, ConnectionState::Open | ConnectionState::Closed);
        if endpoint != link || !is_up {
            return;
        }
        let snapshot = index.snapshot(process);
        let (pid, taken_us) = (snapshot.process.pid, snapshot.taken_ns / 1_000);
        let sample = |sample: &CounterSample| sample.0.get(&(pid, row.serial)).copied();
        let mut samples = vec![sample(&index.facts.before), Counters::of(row)];
        samples.extend(index.facts.after.iter().map(sample));
        self.add(Link {
            role: Some(row.role),
            is_open: row.state == ConnectionState::Open,
            opened_us: Some(taken_us as i64 - row.age_us as i64),
            counters: Counters::of(row),
            samples,
            is_quiet: is_quiet(row),
            is_held_up: is_held_up(index, endpoint, row),
            ..Link::without_row(endpoint)
        });
    }

    /// Adds the connections that requests name and that have no rows.
    fn add_without_rows(&mut self, index: &SnapshotIndex<'_>) {
        for (row, _) in index.requests() {
            let link = index.link(index.endpoint(row));
            if !self.by_endpoint.contains_key(&link) && index.connection(link).is_none() {
                self.virtuals.insert((link, 0), link);
                self.add(Link::without_row(link));
            }
        }
    }

    fn pick_calls(&mut self, index: &SnapshotIndex<'_>) {
        let mut calls: Vec<Vec<RowId>> = vec![Vec::new(); self.all.len()];
        let mut served = calls.clone();
        for (row, request) in index.requests() {
            let of = match request.direction {
                Direction::Incoming if request.kind == RequestKind::Call => &mut served,
                Direction::Outgoing if is_settled_call(request) => &mut calls,
                _ => continue,
            };
            if let Some(&link) = self.by_endpoint.get(&index.link(index.endpoint(row))) {
                of[link as usize].push(row);
            }
        }
        for (link, (calls, served)) in self.all.iter_mut().zip(calls.into_iter().zip(served)) {
            link.calls = pick(&calls);
            link.served = pick(&served);
        }
    }

    /// By how much the callee of a call started after it, if it is at that link.
    pub(super) fn callee(
        &self,
        index: &SnapshotIndex<'_>,
        call: RowId,
        at: Endpoint,
    ) -> Option<i64> {
        let request = index.request(call);
        let conn_id = index
            .connection(index.endpoint(call))
            .map_or(0, |connection| connection.conn_id);
        let there = *self.virtuals.get(&(at, conn_id))?;
        index
            .rows_of(there, request.request_id, Direction::Incoming)
            .filter(|&callee| index.request(callee).method_id == request.method_id)
            .map(|callee| {
                let behind_us = index.started_us(callee) - index.started_us(call);
                behind_us + TOLERANCE_US
            })
            .filter(|behind_us| (0..=SOON_US).contains(behind_us))
            .min()
    }

    fn add(&mut self, link: Link) {
        self.by_endpoint
            .insert(link.endpoint, self.all.len() as u32);
        self.all.push(link);
    }

    pub(super) fn get(&self, link: u32) -> &Link {
        &self.all[link as usize]
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
fn pick(rows: &[RowId]) -> Vec<RowId> {
    let step = rows.len().div_ceil(PICKED_CALLS).max(1);
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

fn is_held_up(index: &SnapshotIndex<'_>, link: Endpoint, row: &Connection) -> bool {
    index.delivering(link).is_some()
        || index.state(index.pid(link.process)) != ProcessState::Alive
        || row.driver.is_some_and(|driver| {
            driver.writing_us.is_some()
                || driver.enqueued > driver.dequeued
                || driver.polled_age_us >= index.stuck_us
        })
}
