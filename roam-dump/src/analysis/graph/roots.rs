//! What is at the bottom: nodes that wait for nothing known, and cycles.

use std::collections::BTreeMap;

use super::builder::Graph;
use super::likely::likely_cycles;
use super::order::in_order;
use crate::analysis::cycle::{Components, strongly_connected};
use crate::analysis::index::SnapshotIndex;
use crate::model::{Deadlock, Node, Root};

/// What is at the bottom of the graph.
pub(in crate::analysis) struct Roots {
    /// The one that holds something up for longest first.
    pub(in crate::analysis) roots: Vec<Root>,
    /// Nodes of a cycle, likely or certain, with the first node of the cycle's root.
    pub(in crate::analysis) in_cycle: BTreeMap<u32, u32>,
}

/// The index of no root.
const NONE: u32 = u32::MAX;

/// Finds cycles and what waits for nothing, and puts first what holds something up for longest.
pub(in crate::analysis) fn find_roots(index: &SnapshotIndex<'_>, graph: &Graph) -> Roots {
    let steps: Vec<(u32, u32)> = graph
        .steps
        .iter()
        .map(|step| (step.from, step.to))
        .collect();
    let certain = strongly_connected(graph.nodes.len(), &steps);
    let (mut roots, root_of) = certain_roots(graph, &certain, &steps);
    let mut in_cycle = BTreeMap::new();
    let is_root = |node: u32| root_of[node as usize] != NONE;
    for likely in likely_cycles(index, graph, &steps, is_root) {
        join_roots(&mut roots, &root_of, &likely.leaves);
        for member in likely.members {
            in_cycle.insert(member, likely.leaves[0]);
        }
    }
    roots.retain(|root| !root.nodes.is_empty());
    for root in &roots {
        if root.deadlock == Some(Deadlock::Certain) {
            for &member in &root.nodes {
                in_cycle.insert(member, root.nodes[0]);
            }
        }
    }
    roots.sort_by_key(|root| (std::cmp::Reverse(root.oldest_us), root.nodes[0]));
    Roots { roots, in_cycle }
}

/// Every component that leads nowhere else, and for every node that waits for nothing the index of its root.
fn certain_roots(
    graph: &Graph,
    components: &Components,
    steps: &[(u32, u32)],
) -> (Vec<Root>, Vec<u32>) {
    let mut is_sink = vec![true; components.len()];
    let mut is_cycle: Vec<bool> = (0..components.len())
        .map(|group| components.group(group).len() > 1)
        .collect();
    for &(from, to) in steps {
        let (from_group, to_group) = (components.group_of(from), components.group_of(to));
        if from_group != to_group {
            is_sink[from_group] = false;
        } else if from == to {
            is_cycle[from_group] = true;
        }
    }
    let oldest_us = oldest_waiters(&graph.nodes, components, steps);
    let mut roots = Vec::new();
    let mut root_of = vec![NONE; graph.nodes.len()];
    for group in (0..components.len()).filter(|&group| is_sink[group]) {
        let members = components.group(group);
        let deadlock = is_cycle[group].then_some(Deadlock::Certain);
        let nodes = match deadlock {
            Some(_) => in_order(members, steps),
            None => members.to_vec(),
        };
        if deadlock.is_none() {
            root_of[nodes[0] as usize] = roots.len() as u32;
        }
        roots.push(Root {
            nodes,
            deadlock,
            oldest_us: oldest_us[group],
        });
    }
    (roots, root_of)
}

/// Makes one root of those of a likely cycle, in place of the first.
fn join_roots(roots: &mut [Root], root_of: &[u32], leaves: &[u32]) {
    let root_of = |leaf: u32| root_of[leaf as usize] as usize;
    let oldest_us = leaves
        .iter()
        .map(|&leaf| roots[root_of(leaf)].oldest_us)
        .max()
        .unwrap_or(0);
    for &leaf in leaves {
        roots[root_of(leaf)].nodes.clear();
    }
    roots[root_of(leaves[0])] = Root {
        nodes: leaves.to_vec(),
        deadlock: Some(Deadlock::Likely),
        oldest_us,
    };
}

/// For every group, the age of the oldest node that leads to it. Groups come after those that they lead to.
fn oldest_waiters(nodes: &[Node], groups: &Components, steps: &[(u32, u32)]) -> Vec<u64> {
    let mut oldest_us: Vec<u64> = (0..groups.len())
        .map(|group| {
            let ages = groups.group(group).iter();
            ages.map(|&node| nodes[node as usize].age_us)
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut leads_to: Vec<_> = steps
        .iter()
        .map(|&(from, to)| (groups.group_of(from), groups.group_of(to)))
        .filter(|(from, to)| from != to)
        .collect();
    leads_to.sort_unstable_by_key(|&(from, _)| std::cmp::Reverse(from));
    for (from, to) in leads_to {
        oldest_us[to] = oldest_us[to].max(oldest_us[from]);
    }
    oldest_us
}
