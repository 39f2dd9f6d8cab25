//! Cycles that close if handlers wait for others of their process.

use foldhash::HashSet;
use roam_trace_common::event::{Direction, Phase};

use super::builder::Graph;
use super::leaf::Leaves;
use crate::analysis::cycle::strongly_connected;
use crate::analysis::finding::WaitTarget;
use crate::analysis::index::SnapshotIndex;
use crate::analysis::standing::Standings;

/// A cycle that closes if a handler at the bottom waits for the handlers of its process that wait in a call.
pub(super) struct PossibleCycle {
    /// The handlers at the bottom, in order.
    pub(super) leaves: Vec<u32>,
    /// Those and every request between them.
    pub(super) members: Vec<u32>,
}

pub(super) fn possible_cycles(
    index: &SnapshotIndex<'_>,
    standings: &Standings,
    leaves: &Leaves,
    graph: &Graph,
) -> Vec<PossibleCycle> {
    let assumed = assumed_steps(index, standings, leaves, graph);
    if assumed.is_empty() {
        return Vec::new();
    }
    let count = graph.nodes.len();
    let is_leaf: HashSet<u32> = leaves.running().iter().map(|&(node, _)| node).collect();
    let steps = [graph.pairs(), assumed].concat();
    let all = strongly_connected(count + index.snapshots.len(), &steps);
    (0..all.len())
        .map(|group| all.group(group))
        .filter(|group| group.len() > 1)
        .filter_map(|group| {
            let mut members: Vec<u32> = group
                .iter()
                .copied()
                .filter(|&node| (node as usize) < count)
                .collect();
            members.sort_unstable();
            let leaves: Vec<u32> = members
                .iter()
                .copied()
                .filter(|node| is_leaf.contains(node))
                .collect();
            (leaves.len() > 1).then_some(PossibleCycle { leaves, members })
        })
        .collect()
}

/// Steps from the handlers at the bottom to those of their process that wait. Between them stands one node
/// for "the handlers of this process that wait", so that there are few steps.
fn assumed_steps(
    index: &SnapshotIndex<'_>,
    standings: &Standings,
    leaves: &Leaves,
    graph: &Graph,
) -> Vec<(u32, u32)> {
    let handlers = |process: u32| graph.nodes.len() as u32 + process;
    let waiting = |(node, target): (u32, &Option<WaitTarget>)| {
        let Some(WaitTarget::Request(row)) = *target else {
            return None;
        };
        let request = index.request(row);
        let is_waiting = request.direction == Direction::Incoming
            && request.phase == Phase::Running
            && standings.is_stuck(row)
            && !standings.children(row).is_empty();
        is_waiting.then_some((handlers(row.process), node))
    };
    let waiting: Vec<_> = (0..).zip(&graph.targets).filter_map(waiting).collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    let bottom = leaves
        .running()
        .iter()
        .map(|&(node, row)| (node, handlers(row.process)));
    waiting.into_iter().chain(bottom).collect()
}
