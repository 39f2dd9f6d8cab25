//! What is at the bottom: nodes that wait for nothing known, and cycles.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt};

use super::builder::Graph;
use super::leaf::Leaves;
use super::order::in_order;
use super::pile::add_piles;
use super::possible::possible_cycles;
use super::rank::Ranking;
use crate::analysis::context::Analysis;
use crate::analysis::cycle::{Components, strongly_connected};
use crate::model::{Deadlock, NodeKind, Root};

/// What is at the bottom of the graph.
pub(in crate::analysis) struct Roots {
    /// The one that most calls wait for first.
    pub(in crate::analysis) roots: Vec<Root>,
    /// Nodes of a cycle, possible or certain, with the first node of the cycle's root.
    pub(in crate::analysis) in_cycle: BTreeMap<u32, u32>,
    /// Whether more may wait for them than was found.
    pub(in crate::analysis) is_ranking_incomplete: bool,
}

/// Finds cycles and what waits for nothing. Adds nodes for handlers that wait inside their process.
pub(in crate::analysis) fn find_roots(analysis: &Analysis<'_>, graph: &mut Graph) -> Roots {
    let (index, standings) = (analysis.index, analysis.standings);
    let leaves = Leaves::new(index, graph);
    let possible = possible_cycles(index, standings, &leaves, graph);
    add_piles(index, standings, &leaves, graph);

    let steps = graph.pairs();
    let components = strongly_connected(graph.nodes.len(), &steps);
    let mut ranking = Ranking::new(analysis, graph);
    let mut roots = certain_roots(graph, &components, &steps, &mut ranking);
    let mut in_cycle = BTreeMap::new();
    for cycle in possible {
        for member in cycle.members {
            in_cycle.insert(member, cycle.leaves[0]);
        }
        roots.push(ranking.root(cycle.leaves, Some(Deadlock::PossibleCycle)));
    }
    for root in &roots {
        if root.deadlock == Some(Deadlock::Certain) {
            for &member in &root.nodes {
                in_cycle.insert(member, root.nodes[0]);
            }
        }
    }
    ranking.sort(&mut roots);
    Roots {
        roots,
        in_cycle,
        is_ranking_incomplete: ranking.is_incomplete(),
    }
}

/// Every component that leads nowhere else.
fn certain_roots(
    graph: &Graph,
    components: &Components,
    steps: &[(u32, u32)],
    ranking: &mut Ranking<'_>,
) -> Vec<Root> {
    let mut is_sink = vec![true; components.len()];
    // The steps within each group that has any.
    let mut cycles: HashMap<usize, Vec<(u32, u32)>> = HashMap::new();
    for &(from, to) in steps {
        let (from_group, to_group) = (components.group_of(from), components.group_of(to));
        if from_group != to_group {
            is_sink[from_group] = false;
        } else {
            cycles.entry(from_group).or_default().push((from, to));
        }
    }
    // Memory that is not touched costs nothing.
    let mut roots = Vec::with_capacity(components.len());
    for group in (0..components.len()).filter(|&group| is_sink[group]) {
        let members = components.group(group);
        if let Some(steps) = cycles.get(&group) {
            let members = in_order(members, steps);
            roots.push(ranking.root(members, Some(Deadlock::Certain)));
        } else if holds_up(graph, members[0]) || ranking.is_awaited(members[0]) {
            roots.push(ranking.root(members.to_vec(), None));
        }
    }
    roots
}

/// Of a process there may be a node only because there is something else to say of it.
fn holds_up(graph: &Graph, node: u32) -> bool {
    let node = &graph.nodes[node as usize];
    node.kind != NodeKind::Process || node.code.is_some()
}
