//! Gives every stuck row its verdict, and builds the wait graph.

use std::collections::{BTreeSet, HashMap};

use crate::analysis::{CauseId, Facts, Graph, analyze};
use crate::model::{Edge, NodeKind, Process, Root, Snapshot, Verdict, WaitGraph};
use crate::wording::Wording;

/// What [`explain`] returns besides the verdicts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explanation {
    /// The wait graph.
    pub graph: WaitGraph,
    /// Pids of processes whose rows contradict those of others. Snapshots of several processes are not taken at
    /// one instant: take new ones of these processes, and explain again.
    pub contradicting: BTreeSet<u32>,
    /// Whether the other end of a link may be one of several: more samples of the counters may decide.
    pub is_ambiguous: bool,
}

/// Gives every stuck row that is older than `stuck_us` (microseconds) its verdict, and builds the wait graph.
pub fn explain(snapshots: &mut [Snapshot], facts: &Facts, stuck_us: u64) -> Explanation {
    let findings = analyze(snapshots, facts, stuck_us);
    let wording = Wording::new(snapshots, facts, &findings.pairings);
    let causes = findings.causes.into_iter();
    let verdicts: Vec<Verdict> = causes.map(|cause| wording.verdict(cause)).collect();
    let graph = wait_graph(findings.graph, findings.roots, &verdicts, &wording);
    let mut deadlocked = Vec::new();
    for cycle in &findings.deadlocks {
        for &(row, CauseId(cause)) in &cycle.requests {
            deadlocked.push((row, wording.deadlock(cycle, &verdicts[cause as usize])));
        }
    }

    let names: HashMap<u32, Process> = (snapshots.iter().map(|snapshot| &snapshot.process))
        .chain(facts.processes.iter().map(|facts| &facts.process))
        .map(|process| (process.pid, process.clone()))
        .collect();
    let verdict = |cause: Option<CauseId>| cause.map(|CauseId(id)| verdicts[id as usize].clone());
    for (snapshot, rows) in snapshots.iter_mut().zip(findings.rows) {
        for (row, cause) in snapshot.requests.iter_mut().zip(rows.requests) {
            row.verdict = verdict(cause);
        }
        for (row, cause) in snapshot.connections.iter_mut().zip(rows.connections) {
            row.verdict = verdict(cause);
        }
        for (row, end) in snapshot.connections.iter_mut().zip(rows.ends) {
            row.socket = end.socket;
            row.socket_unknown = end.unknown;
            row.peer = end.peer.and_then(|pid| names.get(&pid).cloned());
        }
        for (row, cause) in snapshot.channels.iter_mut().zip(rows.channels) {
            row.verdict = verdict(cause);
        }
    }
    for (row, verdict) in deadlocked {
        let snapshot = &mut snapshots[row.process as usize];
        snapshot.requests[row.index as usize].verdict = Some(verdict);
    }
    Explanation {
        graph,
        contradicting: findings.contradicting,
        is_ambiguous: findings.is_ambiguous,
    }
}

fn wait_graph(
    graph: Graph,
    roots: Vec<Root>,
    verdicts: &[Verdict],
    wording: &Wording<'_>,
) -> WaitGraph {
    let mut nodes = graph.nodes;
    for (node, cause) in nodes.iter_mut().zip(graph.causes) {
        node.text = match (cause, &node.kind) {
            (Some(CauseId(id)), _) => Some(verdicts[id as usize].text.clone()),
            (None, NodeKind::Process) => wording.process_state(node.process.pid),
            (None, _) => None,
        };
    }
    let edges = graph.steps.into_iter().map(|step| Edge {
        from: step.from,
        to: step.to,
        confidence: step.confidence,
        basis: wording.basis(step.basis),
    });
    WaitGraph {
        nodes,
        edges: edges.collect(),
        roots,
    }
}
