//! Finds the few links that may be the other end of each, by hash joins and
//! sorted lists.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use roam_trace_common::event::{Direction, RequestKind};

use super::ground::{Candidate, SOON_US};
use super::link::{Links, Neighbours, Tie};
use crate::analysis::facts::Moved;
use crate::analysis::scene::{RowId, Scene};

/// Candidates that one row or link brings in by one ground.
const NEAREST: usize = 8;
/// Rows that are looked at for them.
const LOOKS: usize = 64;

/// Pairs of links to look at, the smaller index first.
#[derive(Default)]
pub(super) struct Candidates(HashSet<[u32; 2]>);

impl Candidates {
    fn add(&mut self, links: &Links, a: u32, b: u32) {
        if links.may_be_one(a, b) {
            self.0.insert([a.min(b), a.max(b)]);
        }
    }

    /// Those for which anything speaks, and nothing that is impossible.
    pub(super) fn judge(
        self,
        scene: &Scene<'_>,
        links: &Links,
        neighbours: &Neighbours,
    ) -> Vec<Candidate> {
        let mut judged: Vec<_> = self
            .0
            .into_iter()
            .filter_map(|ends| {
                let [a, b] = ends.map(|end| links.get(end).endpoint.process);
                Candidate::judge(scene, links, neighbours.tie(a, b), ends)
            })
            .collect();
        judged.sort_unstable_by_key(|candidate| candidate.ends);
        judged
    }
}

/// By id on the wire, method and time: a callee starts just after its caller.
pub(super) fn find_by_requests(
    scene: &Scene<'_>,
    links: &Links,
    neighbours: &Neighbours,
    candidates: &mut Candidates,
) {
    let conn_id = |row: RowId| {
        scene
            .connection(scene.endpoint(row))
            .map_or(0, |connection| connection.conn_id)
    };
    if !scene.both_directions {
        return;
    }
    let key = |row: RowId| {
        let request = scene.request(row);
        (conn_id(row), request.request_id, request.method_id)
    };
    let served = || {
        links
            .all
            .iter()
            .flat_map(|link| link.served.iter().copied())
    };
    let wanted: HashSet<_> = served().map(key).collect();
    let mut callers: Vec<_> = scene
        .requests()
        .filter(|(row, request)| {
            request.direction == Direction::Outgoing
                && request.kind == RequestKind::Call
                && wanted.contains(&key(*row))
        })
        .map(|(row, _)| (key(row), scene.started_us(row), row))
        .collect();
    callers.sort_unstable();
    for callee in served() {
        let key = key(callee);
        let started_us = scene.started_us(callee);
        let start = callers.partition_point(|(of, ..)| *of < key);
        let callers = &callers[start..];
        let latest_us = started_us + scene.tolerance_us([callee, callee]);
        let end = callers.partition_point(|&(of, at_us, _)| (of, at_us) <= (key, latest_us));
        let Some(&to) = links.by_endpoint.get(&scene.link(scene.endpoint(callee))) else {
            continue;
        };
        let mut seen = HashSet::new();
        for &(_, at_us, caller) in callers[..end].iter().rev().take(LOOKS) {
            if started_us - at_us > SOON_US || seen.len() == NEAREST {
                break;
            }
            let Some(&from) = links.by_endpoint.get(&scene.link(scene.endpoint(caller))) else {
                continue;
            };
            let is_tied = neighbours.tie(caller.process, callee.process) != Tie::None;
            if is_tied && links.may_be_one(from, to) && seen.insert(from) {
                candidates.add(links, from, to);
            }
        }
    }
}

/// By equal messages and bytes each way.
pub(super) fn find_by_counters(
    links: &Links,
    neighbours: &Neighbours,
    candidates: &mut Candidates,
) {
    let mut by_moved: HashMap<Moved, Vec<u32>> = HashMap::new();
    for (index, link) in (0..).zip(&links.all) {
        if let Some(moved) = link.moved
            && moved != Moved::default()
        {
            by_moved.entry(moved).or_default().push(index);
        }
    }
    for (index, link) in (0..).zip(&links.all) {
        let Some(others) = link
            .moved
            .and_then(|moved| by_moved.get(&moved.at_other_end()))
        else {
            continue;
        };
        let near = others
            .iter()
            .take(LOOKS)
            .copied()
            .filter(|&other| {
                let other = links.get(other).endpoint.process;
                neighbours.tie(link.endpoint.process, other) != Tie::None
            })
            .take(NEAREST);
        for other in near {
            candidates.add(links, index, other);
        }
    }
}

/// By when they were opened, among processes that share a socket or memory.
pub(super) fn find_by_opening(links: &Links, neighbours: &Neighbours, candidates: &mut Candidates) {
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
    for (process, others) in neighbours.of() {
        let Some(own) = by_process.get(&process) else {
            continue;
        };
        for other in others {
            let Some(theirs) = by_process.get(&other) else {
                continue;
            };
            // The end with fewer links looks; the other end is looked at.
            if (own.len(), process) > (theirs.len(), other) {
                continue;
            }
            for &(opened_us, index) in own {
                let at = theirs.partition_point(|&(theirs_us, _)| theirs_us < opened_us);
                let (earlier, later) = theirs.split_at(at);
                let near = |rows: &mut dyn Iterator<Item = &(i64, u32)>| {
                    rows.take(LOOKS)
                        .map(|&(_, other)| other)
                        .filter(|&other| links.may_be_one(index, other))
                        .take(NEAREST)
                        .collect::<Vec<_>>()
                };
                let near_earlier = near(&mut earlier.iter().rev());
                for other in near_earlier.into_iter().chain(near(&mut later.iter())) {
                    candidates.add(links, index, other);
                }
            }
        }
    }
}
