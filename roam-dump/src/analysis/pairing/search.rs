//! Finds the few links that may be the other end of each, by hash joins and
//! sorted lists.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use roam_trace_common::event::{Direction, RequestKind};

use super::candidate::Candidate;
use super::connectivity::{Connectivity, Neighbours};
use super::link::{LinkIndex, SOON_US};
use super::sockets::Sockets;
use crate::analysis::facts::Counters;
use crate::analysis::index::{RowId, SnapshotIndex, TOLERANCE_US};

/// Candidates that one search brings in for one row or link.
const NEAREST: usize = 8;
/// Rows that it goes through for them.
const SCANNED: usize = 64;

/// Pairs of links to compare.
pub(super) struct Candidates<'a> {
    links: &'a LinkIndex,
    sockets: &'a Sockets<'a>,
    /// The smaller index first.
    found: HashSet<[u32; 2]>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(links: &'a LinkIndex, sockets: &'a Sockets<'a>) -> Self {
        Self {
            links,
            sockets,
            found: HashSet::new(),
        }
    }

    fn may_be_one(&self, a: u32, b: u32) -> bool {
        self.links.may_be_one(a, b) && self.sockets.may_be_one(self.links, a, b)
    }

    fn add(&mut self, a: u32, b: u32) {
        if self.may_be_one(a, b) {
            self.found.insert([a.min(b), a.max(b)]);
        }
    }

    /// Those for which anything speaks, and nothing that is impossible.
    pub(super) fn rate(
        self,
        index: &SnapshotIndex<'_>,
        links: &LinkIndex,
        neighbours: &Neighbours,
    ) -> Vec<Candidate> {
        let mut rated: Vec<_> = self
            .found
            .into_iter()
            .filter_map(|ends| {
                let [a, b] = ends.map(|end| links.get(end).endpoint.process);
                Candidate::new(index, links, neighbours.connectivity(a, b), ends)
            })
            .collect();
        rated.sort_unstable_by_key(|candidate| candidate.ends);
        rated
    }
}

/// By id on the wire, method and time: a callee starts just after its caller.
pub(super) fn find_by_requests(
    index: &SnapshotIndex<'_>,
    links: &LinkIndex,
    neighbours: &Neighbours,
    candidates: &mut Candidates<'_>,
) {
    if !index.both_directions {
        return;
    }
    let served = || {
        links
            .all
            .iter()
            .flat_map(|link| link.served.iter().copied())
    };
    let callers = callers(index, served().map(|row| key(index, row)).collect());
    for callee in served() {
        let key = key(index, callee);
        let started_us = index.started_us(callee);
        let start = callers.partition_point(|(of, ..)| *of < key);
        let callers = &callers[start..];
        let latest_us = started_us + TOLERANCE_US;
        let end = callers.partition_point(|&(of, at_us, _)| (of, at_us) <= (key, latest_us));
        let Some(&to) = links.by_endpoint.get(&index.link(index.endpoint(callee))) else {
            continue;
        };
        let mut seen = HashSet::new();
        for &(_, at_us, caller) in callers[..end].iter().rev().take(SCANNED) {
            if started_us - at_us > SOON_US || seen.len() == NEAREST {
                break;
            }
            let Some(&from) = links.by_endpoint.get(&index.link(index.endpoint(caller))) else {
                continue;
            };
            let is_connected =
                neighbours.connectivity(caller.process, callee.process) != Connectivity::None;
            if is_connected && candidates.may_be_one(from, to) && seen.insert(from) {
                candidates.add(from, to);
            }
        }
    }
}

/// Connection id, request id and method id: what both rows of a call have in common.
type Key = (u64, u64, u64);

fn key(index: &SnapshotIndex<'_>, row: RowId) -> Key {
    let request = index.request(row);
    let connection = index.connection(index.endpoint(row));
    let conn_id = connection.map_or(0, |connection| connection.conn_id);
    (conn_id, request.request_id, request.method_id)
}

/// The calls with one of these keys by key and start, sorted.
fn callers(index: &SnapshotIndex<'_>, wanted: HashSet<Key>) -> Vec<(Key, i64, RowId)> {
    let calls = index.requests().filter(|(_, request)| {
        request.direction == Direction::Outgoing && request.kind == RequestKind::Call
    });
    let mut callers: Vec<_> = calls
        .map(|(row, _)| (key(index, row), index.started_us(row), row))
        .filter(|(key, ..)| wanted.contains(key))
        .collect();
    callers.sort_unstable();
    callers
}

/// By equal messages and bytes in each direction.
pub(super) fn find_by_counters(
    links: &LinkIndex,
    neighbours: &Neighbours,
    candidates: &mut Candidates<'_>,
) {
    let mut by_counters: HashMap<Counters, Vec<u32>> = HashMap::new();
    for (index, link) in (0..).zip(&links.all) {
        if let Some(counters) = link.counters
            && counters != Counters::default()
        {
            by_counters.entry(counters).or_default().push(index);
        }
    }
    for (index, link) in (0..).zip(&links.all) {
        let Some(others) = link
            .counters
            .and_then(|counters| by_counters.get(&counters.at_other_end()))
        else {
            continue;
        };
        let near: Vec<_> = others
            .iter()
            .take(SCANNED)
            .copied()
            .filter(|&other| {
                let process = links.get(other).endpoint.process;
                neighbours.connectivity(link.endpoint.process, process) != Connectivity::None
                    && candidates.may_be_one(index, other)
            })
            .take(NEAREST)
            .collect();
        for other in near {
            candidates.add(index, other);
        }
    }
}

/// By when they were opened, among processes that share a socket or memory.
pub(super) fn find_by_opening(
    links: &LinkIndex,
    neighbours: &Neighbours,
    candidates: &mut Candidates<'_>,
) {
    let mut by_process: HashMap<u32, Vec<(i64, u32)>> = HashMap::new();
    for (index, link) in (0..).zip(&links.all) {
        if let Some(opened_us) = link.opened_us {
            by_process
                .entry(link.endpoint.process)
                .or_default()
                .push((opened_us, index));
        }
    }
    for links in by_process.values_mut() {
        links.sort_unstable();
    }
    for (process, others) in neighbours.by_process() {
        let Some(own) = by_process.get(&process) else {
            continue;
        };
        for other in others {
            let Some(theirs) = by_process.get(&other) else {
                continue;
            };
            // The process with fewer links searches those of the other.
            if (own.len(), process) > (theirs.len(), other) {
                continue;
            }
            for &(opened_us, index) in own {
                let at = theirs.partition_point(|&(theirs_us, _)| theirs_us < opened_us);
                let (earlier, later) = theirs.split_at(at);
                let near = |rows: &mut dyn Iterator<Item = &(i64, u32)>| {
                    rows.take(SCANNED)
                        .map(|&(_, other)| other)
                        .filter(|&other| candidates.may_be_one(index, other))
                        .take(NEAREST)
                        .collect::<Vec<_>>()
                };
                let near_earlier = near(&mut earlier.iter().rev());
                for other in near_earlier.into_iter().chain(near(&mut later.iter())) {
                    candidates.add(index, other);
                }
            }
        }
    }
}
