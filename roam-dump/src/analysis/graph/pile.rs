//! Handlers of one method that wait inside their process: behind a lock, a semaphore or a pool.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt, HashSet};
use roam_trace_common::event::{Direction, Phase};

use super::builder::{Graph, Step};
use super::leaf::Leaves;
use crate::analysis::basis::WaitBasis;
use crate::analysis::cycle::adjacency;
use crate::analysis::finding::WaitTarget;
use crate::analysis::index::{RowId, SnapshotIndex};
use crate::analysis::standing::Standings;
use crate::model::{Confidence, Node, NodeKind, Pile, Request};

/// Stuck handlers of one method, with nothing to wait for outside, from which on they are shown as one.
const MANY: usize = 4;

/// Index of the process, method id.
type MethodKey = (u32, u64);

/// Handlers of one method in one process.
#[derive(Default)]
struct Handlers {
    /// Nodes of those that are stuck and wait for nothing known.
    leaves: Vec<u32>,
    /// The one that has run for longest of those with a stuck call out: its node, its row.
    longest: Option<(u32, RowId)>,
    /// All that run.
    running: u32,
    /// Those of them that have made a call which is in flight.
    calls_out: u32,
    /// Microseconds since the last one ended, if one did and the process counts.
    last_ended_us: Option<u64>,
}

/// Puts a node for all of them between such handlers and what they may wait for.
pub(super) fn add_piles(
    index: &SnapshotIndex<'_>,
    standings: &Standings,
    leaves: &Leaves,
    graph: &mut Graph,
) {
    let piles = piles(index, standings, leaves, graph);
    if piles.is_empty() {
        return;
    }
    let mut reach = Reach::new(graph, piles.values());
    for (&key, handlers) in &piles {
        let pile = graph.push(node(index, standings, graph, key, handlers), None);
        let step = |from, to, basis| Step {
            from,
            to,
            confidence: Confidence::Medium,
            basis,
        };
        let inside = |&leaf: &u32| step(leaf, pile, WaitBasis::InsideProcess);
        graph.steps.extend(handlers.leaves.iter().map(inside));
        let longest = handlers.longest.filter(|&(node, row)| {
            is_plausible(index, standings, graph, handlers, row) && !reach.leads_to_a_pile(node)
        });
        if let Some((longest, _)) = longest {
            graph
                .steps
                .push(step(pile, longest, WaitBasis::LongestCallOut));
        }
    }
}

/// The piles, in the order of their processes.
fn piles(
    index: &SnapshotIndex<'_>,
    standings: &Standings,
    leaves: &Leaves,
    graph: &Graph,
) -> BTreeMap<MethodKey, Handlers> {
    let mut counts: HashMap<MethodKey, usize> = HashMap::new();
    for &(_, row) in leaves.running() {
        *counts.entry(key(index, row)).or_default() += 1;
    }
    let mut piles: BTreeMap<MethodKey, Handlers> = counts
        .into_iter()
        .filter(|&(_, count)| count >= MANY)
        .map(|(key, _)| (key, Handlers::default()))
        .collect();
    if piles.is_empty() {
        return piles;
    }
    for &(node, row) in leaves.running() {
        if let Some(handlers) = piles.get_mut(&key(index, row)) {
            handlers.leaves.push(node);
        }
    }
    count_running(index, &mut piles);
    piles.retain(|_, handlers| handlers.calls_out * 2 <= handlers.running);
    for (process, snapshot) in (0..).zip(index.snapshots) {
        for method in &snapshot.methods {
            if method.direction == Direction::Incoming
                && let Some(handlers) = piles.get_mut(&(process, method.method_id))
            {
                handlers.last_ended_us = method.last_ended_us;
            }
        }
    }
    for (node, target) in (0..).zip(&graph.targets) {
        if let &Some(WaitTarget::Request(row)) = target
            && !standings.children(row).is_empty()
            && let Some(handlers) = piles.get_mut(&key(index, row))
            && is_running(index.request(row))
            && handlers.longest.is_none_or(|(_, longest)| {
                index.request(longest).age_us < index.request(row).age_us
            })
        {
            handlers.longest = Some((node, row));
        }
    }
    piles
}

fn key(index: &SnapshotIndex<'_>, row: RowId) -> MethodKey {
    (row.process, index.request(row).method_id)
}

fn is_running(request: &Request) -> bool {
    request.direction == Direction::Incoming
        && request.phase == Phase::Running
        && request.mark.is_none()
}

fn count_running(index: &SnapshotIndex<'_>, piles: &mut BTreeMap<MethodKey, Handlers>) {
    let with_call: HashSet<RowId> = index
        .requests()
        .filter(|(_, request)| request.direction == Direction::Outgoing)
        .filter_map(|(row, _)| index.parent(row))
        .collect();
    for (row, _) in index.requests().filter(|(_, request)| is_running(request)) {
        if let Some(handlers) = piles.get_mut(&key(index, row)) {
            handlers.running += 1;
            handlers.calls_out += u32::from(with_call.contains(&row));
        }
    }
}

fn node(
    index: &SnapshotIndex<'_>,
    standings: &Standings,
    graph: &Graph,
    (process, method_id): MethodKey,
    handlers: &Handlers,
) -> Node {
    let snapshot = index.snapshot(process);
    let leaves = || {
        handlers
            .leaves
            .iter()
            .map(|&leaf| &graph.nodes[leaf as usize])
    };
    let method = leaves().find_map(|node| match &node.kind {
        NodeKind::Handler { method, .. } => Some(method.clone()),
        _ => None,
    });
    let pid = snapshot.process.pid;
    let ended = index.facts.ended.as_ref();
    Node {
        process: leaves().next().map_or_else(
            || snapshot.process.clone().into(),
            |node| node.process.clone(),
        ),
        kind: NodeKind::Handlers(Box::new(Pile {
            method: method.unwrap_or_default(),
            running: handlers.running,
            calls_out: handlers.calls_out,
            parentless_calls: standings.parentless(process),
            ended_per_second: ended
                .and_then(|ended| ended.per_second(pid, Direction::Incoming, method_id)),
            last_ended_us: handlers.last_ended_us,
        })),
        age_us: leaves().map(|node| node.age_us).max().unwrap_or(0),
        code: None,
        verdict: None,
        text: None,
    }
}

/// Whether the others may wait for the handler `longest`: it has run for longer than all of them, and none has
/// ended since it made the call that it waits for.
fn is_plausible(
    index: &SnapshotIndex<'_>,
    standings: &Standings,
    graph: &Graph,
    handlers: &Handlers,
    longest: RowId,
) -> bool {
    let request = index.request(longest);
    let is_oldest = handlers
        .leaves
        .iter()
        .all(|&leaf| graph.nodes[leaf as usize].age_us <= request.age_us);
    let calls = standings.children(longest).iter();
    let call_us = calls.map(|&call| index.request(call).age_us).max();
    let last_ended_us = handlers.last_ended_us;
    is_oldest && last_ended_us.is_none_or(|last_us| Some(last_us) >= call_us)
}

/// Steps along chains that are followed. What a target makes of its rows does not hold up the tracer.
const MAX_STEPS: usize = 5_000_000;

/// Where chains lead, so that no assumed step closes a cycle.
struct Reach {
    starts: Vec<u32>,
    targets: Vec<u32>,
    is_leaf: Vec<bool>,
    seen: Vec<u32>,
    round: u32,
    steps_left: usize,
}

impl Reach {
    fn new<'h>(graph: &Graph, piles: impl Iterator<Item = &'h Handlers>) -> Self {
        let count = graph.nodes.len();
        let (starts, targets) = adjacency(count, &graph.pairs());
        let mut is_leaf = vec![false; count];
        for &leaf in piles.flat_map(|handlers| &handlers.leaves) {
            is_leaf[leaf as usize] = true;
        }
        Self {
            starts,
            targets,
            is_leaf,
            seen: vec![0; count],
            round: 0,
            steps_left: MAX_STEPS,
        }
    }

    /// Whether a chain from the node leads to a handler of any pile, or may.
    fn leads_to_a_pile(&mut self, node: u32) -> bool {
        self.round += 1;
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            let at = node as usize;
            if std::mem::replace(&mut self.seen[at], self.round) == self.round {
                continue;
            }
            let next = &self.targets[self.starts[at] as usize..self.starts[at + 1] as usize];
            if self.is_leaf[at] || self.steps_left < next.len() {
                return true;
            }
            self.steps_left -= next.len();
            open.extend(next);
        }
        false
    }
}
