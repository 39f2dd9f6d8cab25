//! Where chains end in a handler that runs and waits for nothing known.

use roam_trace_common::event::{Direction, Phase};

use super::builder::Graph;
use crate::analysis::finding::WaitTarget;
use crate::analysis::index::{RowId, SnapshotIndex};
use crate::model::Code;

/// Handlers that are stuck and wait for nothing known.
pub(super) struct Leaves {
    /// Their nodes and rows.
    running: Vec<(u32, RowId)>,
}

impl Leaves {
    pub(super) fn new(index: &SnapshotIndex<'_>, graph: &Graph) -> Self {
        let mut waits = vec![false; graph.nodes.len()];
        for step in &graph.steps {
            waits[step.from as usize] = true;
        }
        let leaf = |(node, target): (u32, &Option<WaitTarget>)| {
            let Some(WaitTarget::Request(row)) = *target else {
                return None;
            };
            let request = index.request(row);
            let is_leaf = !waits[node as usize]
                && request.direction == Direction::Incoming
                && request.phase == Phase::Running
                && graph.nodes[node as usize].code == Some(Code::HandlerRunning);
            is_leaf.then_some((node, row))
        };
        Self {
            running: (0..).zip(&graph.targets).filter_map(leaf).collect(),
        }
    }

    pub(super) fn running(&self) -> &[(u32, RowId)] {
        &self.running
    }
}
