//! Cycles that close if handlers wait for others of their process.

use roam_trace_common::event::{Direction, Phase};

use super::builder::Graph;
use crate::analysis::cycle::strongly_connected;
use crate::analysis::finding::WaitTarget;
use crate::analysis::index::SnapshotIndex;
use crate::model::Code;

/// A cycle that closes if a handler at the bottom waits for the handlers of its process that wait in a call.
pub(super) struct LikelyCycle {
    /// The handlers at the bottom, in order.
    pub(super) leaves: Vec<u32>,
    /// Those and every request between them.
    pub(super) members: Vec<u32>,
}

/// `is_root` is whether a node is a root of its own.
pub(super) fn likely_cycles(
    index: &SnapshotIndex<'_>,
    graph: &Graph,
    steps: &[(u32, u32)],
    is_root: impl Fn(u32) -> bool,
) -> Vec<LikelyCycle> {
    let count = graph.nodes.len();
    let assumed = assumed_steps(index, graph, &is_root);
    if assumed.is_empty() {
        return Vec::new();
    }
    let steps = [steps, &assumed].concat();
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
                .filter(|&node| is_root(node))
                .collect();
            (leaves.len() > 1).then_some(LikelyCycle { leaves, members })
        })
        .collect()
}

/// Steps from the handlers at the bottom to those of their process that wait. Between them stands one node
/// for "the handlers of this process that wait", so that there are few steps.
fn assumed_steps(
    index: &SnapshotIndex<'_>,
    graph: &Graph,
    is_root: impl Fn(u32) -> bool,
) -> Vec<(u32, u32)> {
    let (mut waiting, mut bottom) = (Vec::new(), Vec::new());
    for (node, target) in (0..).zip(&graph.targets) {
        let WaitTarget::Request(row) = *target else {
            continue;
        };
        let request = index.request(row);
        if request.direction != Direction::Incoming || request.phase != Phase::Running {
            continue;
        }
        let handlers = graph.nodes.len() as u32 + row.process;
        if !index.children(row).is_empty() {
            waiting.push((handlers, node));
        } else if is_root(node) && graph.nodes[node as usize].code == Some(Code::HandlerRunning) {
            bottom.push((node, handlers));
        }
    }
    if waiting.is_empty() || bottom.is_empty() {
        return Vec::new();
    }
    [waiting, bottom].concat()
}
