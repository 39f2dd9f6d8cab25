//! Leaves out of the graph what is usual and waits for nothing unusual.

use super::builder::{Graph, Step};
use crate::analysis::cycle::adjacency;
use crate::analysis::finding::WaitTarget;
use crate::analysis::standing::Standings;
use crate::model::Code;

/// The index of no node.
const NONE: u32 = u32::MAX;

/// A usual row stays where a chain leads through it to something that is stuck: it is never the end of one.
pub(in crate::analysis) fn prune(graph: &mut Graph, standings: &Standings) {
    let stays = stays(graph, standings);
    if stays.iter().all(|&stays| stays) {
        return;
    }
    let mut count = 0;
    let new_index: Vec<u32> = stays
        .iter()
        .map(|&stays| {
            count += u32::from(stays);
            if stays { count - 1 } else { NONE }
        })
        .collect();
    retain(&mut graph.nodes, &stays);
    retain(&mut graph.targets, &stays);
    retain(&mut graph.causes, &stays);
    retain(&mut graph.is_awaited, &stays);
    let moved = |step: Step| {
        let (from, to) = (new_index[step.from as usize], new_index[step.to as usize]);
        (from != NONE && to != NONE).then_some(Step { from, to, ..step })
    };
    graph.steps = graph.steps.drain(..).filter_map(moved).collect();
}

fn retain<T>(list: &mut Vec<T>, stays: &[bool]) {
    let mut stays = stays.iter();
    list.retain(|_| stays.next().is_some_and(|&stays| stays));
}

/// What is stuck, what that waits for, and everything that leads to it.
fn stays(graph: &Graph, standings: &Standings) -> Vec<bool> {
    let is_stuck = |node: u32| {
        let code = graph.nodes[node as usize].code;
        match graph.targets[node as usize] {
            Some(WaitTarget::Request(_)) => code.is_some_and(|code| code != Code::Usual),
            _ => true,
        }
    };
    let is_unsuspicious = |node: u32| match graph.targets[node as usize] {
        Some(WaitTarget::Request(row)) => standings.is_unsuspicious(row),
        _ => false,
    };
    let count = graph.nodes.len();
    let mut stays: Vec<bool> = (0..count as u32).map(is_stuck).collect();
    for step in &graph.steps {
        if is_stuck(step.from) && !is_unsuspicious(step.to) {
            stays[step.to as usize] = true;
        }
    }
    if stays.iter().all(|&stays| stays) {
        return stays;
    }
    let backwards: Vec<(u32, u32)> = graph
        .steps
        .iter()
        .map(|step| (step.to, step.from))
        .collect();
    let (starts, waiters) = adjacency(count, &backwards);
    let mut open: Vec<u32> = (0..count as u32)
        .filter(|&node| stays[node as usize])
        .collect();
    while let Some(node) = open.pop() {
        let at = node as usize;
        for &waiter in &waiters[starts[at] as usize..starts[at + 1] as usize] {
            if !std::mem::replace(&mut stays[waiter as usize], true) {
                open.push(waiter);
            }
        }
    }
    stays
}
