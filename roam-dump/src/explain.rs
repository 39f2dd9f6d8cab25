//! Gives every stuck row its verdict, and builds the wait graph.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt};

use crate::analysis::{
    Cause, Facts, Graph, LinkEnd, Measure, MeasureId, RowCause, SnapshotFindings, Thresholds,
    analyze,
};
use crate::model::{Edge, NodeKind, Process, ProcessFinding, Root, Snapshot, Verdict, WaitGraph};
use crate::wording::{Wording, pile};

/// What [`explain`] returns besides the verdicts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explanation {
    /// The wait graph.
    pub graph: WaitGraph,
    /// Pids of processes whose rows contradict those of others, or whose drivers had work when they were read and
    /// may have had no time yet to run. Take new snapshots of these processes, and explain again.
    pub unconfirmed: BTreeSet<u32>,
    /// Whether the other end of a link may be one of several: more samples of the counters may decide.
    pub is_ambiguous: bool,
}

/// Gives every row that is stuck or usual by `thresholds` its verdict and every process its findings, and builds the
/// wait graph.
pub fn explain(snapshots: &mut [Snapshot], facts: &Facts, thresholds: &Thresholds) -> Explanation {
    let findings = analyze(snapshots, facts, thresholds);
    let wording = Wording::new(snapshots, facts, &findings.pairings);
    let mut verdicts = Verdicts {
        wording: &wording,
        causes: &findings.causes,
        measures: &findings.measures,
        known: HashMap::new(),
    };
    let mut judged: Vec<Judged> = findings
        .snapshots
        .into_iter()
        .map(|found| Judged::new(found, &wording, &mut verdicts))
        .collect();
    let mut graph = wait_graph(findings.graph, findings.roots, &wording, &mut verdicts);
    describe_processes(&mut graph, snapshots, &judged, &wording);
    for cycle in &findings.cycles {
        for &(row, cause) in &cycle.requests {
            let verdict = wording.in_cycle(cycle, &verdicts.of(cause));
            judged[row.process as usize].requests[row.index as usize] = Some(verdict);
        }
    }

    let names: HashMap<u32, Process> = (snapshots.iter().map(|snapshot| &snapshot.process))
        .chain(facts.processes.iter().map(|facts| &facts.process))
        .map(|process| (process.pid, process.clone()))
        .collect();
    for (snapshot, judged) in snapshots.iter_mut().zip(judged) {
        snapshot.findings = judged.findings;
        for (row, verdict) in snapshot.requests.iter_mut().zip(judged.requests) {
            row.verdict = verdict;
        }
        for (row, verdict) in snapshot.connections.iter_mut().zip(judged.connections) {
            row.verdict = verdict;
        }
        for (row, end) in snapshot.connections.iter_mut().zip(judged.ends) {
            row.socket = end.socket;
            row.socket_unknown = end.unknown;
            row.peer = end.peer.and_then(|pid| names.get(&pid).cloned());
        }
        for (row, verdict) in snapshot.channels.iter_mut().zip(judged.channels) {
            row.verdict = verdict;
        }
    }
    Explanation {
        graph,
        unconfirmed: findings.unconfirmed,
        is_ambiguous: findings.is_ambiguous,
    }
}

/// The verdicts that were put into words: rows share them.
struct Verdicts<'a> {
    wording: &'a Wording<'a>,
    causes: &'a [Cause],
    measures: &'a [Measure],
    known: HashMap<RowCause, Verdict>,
}

impl Verdicts<'_> {
    fn of(&mut self, cause: RowCause) -> Verdict {
        let words = || {
            let of = &self.causes[cause.cause.0 as usize];
            let measure = cause
                .measure
                .map(|MeasureId(id)| self.measures[id as usize]);
            self.wording.verdict(of, measure)
        };
        self.known.entry(cause).or_insert_with(words).clone()
    }

    fn of_all(&mut self, causes: Vec<Option<RowCause>>) -> Vec<Option<Verdict>> {
        let causes = causes.into_iter();
        causes
            .map(|cause| cause.map(|cause| self.of(cause)))
            .collect()
    }
}

/// What one snapshot gets.
struct Judged {
    findings: Vec<ProcessFinding>,
    requests: Vec<Option<Verdict>>,
    connections: Vec<Option<Verdict>>,
    ends: Vec<LinkEnd>,
    channels: Vec<Option<Verdict>>,
}

impl Judged {
    fn new(found: SnapshotFindings, wording: &Wording<'_>, verdicts: &mut Verdicts<'_>) -> Self {
        let findings = found.process.into_iter();
        Self {
            findings: findings
                .map(|(kind, severity)| wording.finding(kind, severity))
                .collect(),
            requests: verdicts.of_all(found.requests),
            connections: verdicts.of_all(found.connections),
            ends: found.ends,
            channels: verdicts.of_all(found.channels),
        }
    }
}

fn wait_graph(
    graph: Graph,
    roots: Vec<Root>,
    wording: &Wording<'_>,
    verdicts: &mut Verdicts<'_>,
) -> WaitGraph {
    let mut nodes = graph.nodes;
    for (node, cause) in nodes.iter_mut().zip(graph.causes) {
        node.text = match cause {
            Some(cause) => Some(verdicts.of(cause).text),
            None => pile(&node.kind),
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

/// The nodes of processes say what was found about the whole process.
fn describe_processes(
    graph: &mut WaitGraph,
    snapshots: &[Snapshot],
    judged: &[Judged],
    wording: &Wording<'_>,
) {
    let of_pid: HashMap<u32, &[ProcessFinding]> = snapshots
        .iter()
        .zip(judged)
        .map(|(snapshot, judged)| (snapshot.process.pid, judged.findings.as_slice()))
        .collect();
    for node in &mut graph.nodes {
        if node.kind == NodeKind::Process {
            let pid = node.process.pid;
            node.text = match of_pid.get(&pid) {
                Some(findings) if !findings.is_empty() => {
                    let texts: Vec<&str> = findings.iter().map(|finding| &*finding.text).collect();
                    Some(texts.join("; ").into())
                }
                _ => wording.process_state(pid),
            };
        }
    }
}
