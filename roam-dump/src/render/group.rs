//! Groups nodes of the wait graph that differ in nothing but their age.

use std::collections::HashMap;

use roam_trace_common::event::{Mark, Phase};

use super::node::Signature;
use crate::duration::Age;
use crate::model::{Node, NodeKind, WaitGraph};

/// How many nodes of a group are shown.
const SHOWN: usize = 3;

/// Counts the nodes of each group, so that a thousand equal ones do not fill the screen.
#[derive(Default)]
pub(super) struct RowGroups {
    order: Vec<GroupKey>,
    groups: HashMap<GroupKey, RowGroup>,
}

/// What the nodes of a group have in common. Names are compared by their address, since the graph holds each
/// name of a process once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum GroupKey {
    Call(u32, *const u8, *const u8),
    Handler(u32, *const u8, Phase, Option<Mark>),
    Handlers(u32, *const u8),
    Driver(u32, u64),
    Process(u32),
}

impl GroupKey {
    fn of(node: &Node) -> Self {
        let pid = node.process.pid;
        match &node.kind {
            NodeKind::Call {
                method, made_by, ..
            } => Self::Call(pid, method.as_ptr(), made_by.as_str().as_ptr()),
            NodeKind::Handler {
                method,
                phase,
                mark,
                ..
            } => Self::Handler(pid, method.as_ptr(), *phase, *mark),
            NodeKind::Handlers(pile) => Self::Handlers(pid, pile.method.as_ptr()),
            NodeKind::Driver { connection, .. } => Self::Driver(pid, *connection),
            NodeKind::Process => Self::Process(pid),
        }
    }
}

#[derive(Default)]
struct RowGroup {
    nodes: usize,
    /// Of those that are not shown.
    oldest_us: u64,
    example: u32,
}

impl RowGroups {
    /// Whether to show the node.
    pub(super) fn count(&mut self, node_index: u32, node: &Node, age_us: u64) -> bool {
        let key = GroupKey::of(node);
        let group = self.groups.entry(key).or_insert_with(|| {
            self.order.push(key);
            RowGroup {
                example: node_index,
                ..RowGroup::default()
            }
        });
        group.nodes += 1;
        if group.nodes > SHOWN {
            group.oldest_us = age_us.max(group.oldest_us);
        }
        group.nodes <= SHOWN
    }

    /// One line per group with nodes that are not shown: their text, number and oldest age.
    pub(super) fn rest(self, graph: &WaitGraph) -> Vec<String> {
        self.order
            .iter()
            .map(|key| &self.groups[key])
            .filter(|group| group.nodes > SHOWN)
            .map(|group| {
                let node = &graph.nodes[group.example as usize];
                format!(
                    "… and {} more like this: {}, the oldest {}",
                    group.nodes - SHOWN,
                    Signature(node),
                    Age(group.oldest_us)
                )
            })
            .collect()
    }
}
