//! Gives every stuck row its verdict, and builds the wait graph.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::analysis::{
    Cause, Facts, Graph, Measure, MeasureId, RowCause, Thresholds, analyze, hub_findings,
};
use crate::model::{
    ConnectionPeer, Edge, Hub, HubContent, NodeKind, Process, ProcessFinding, Snapshot, Verdict,
    WaitGraph,
};
use crate::wording::{Wording, hub_finding, pile};

/// What [`explain`] returns besides the verdicts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explanation {
    /// The wait graph.
    pub graph: WaitGraph,
    /// Every verdict, by its index.
    pub verdicts: Vec<Arc<Verdict>>,
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
        last: None,
        by_text: HashMap::new(),
        all: Vec::new(),
    };
    let of_processes: Vec<Vec<ProcessFinding>> = (findings.snapshots.iter())
        .map(|found| {
            let findings = found.process.iter().cloned();
            findings
                .map(|(kind, severity)| wording.finding(kind, severity))
                .collect()
        })
        .collect();
    for found in &findings.snapshots {
        let rows = [&found.requests, &found.connections, &found.channels];
        for &cause in rows.into_iter().flatten().flatten() {
            verdicts.of(cause);
        }
    }
    let mut graph = wait_graph(findings.graph, &wording, &mut verdicts);
    graph.roots = findings.roots;
    graph.is_ranking_incomplete = findings.is_ranking_incomplete;
    describe_processes(&mut graph, snapshots, &of_processes, &wording);
    let mut in_cycles = Vec::new();
    for cycle in &findings.cycles {
        for &(row, cause) in &cycle.requests {
            let verdict = wording.in_cycle(cycle, verdicts.of(cause));
            in_cycles.push((row, verdicts.add(verdict)));
        }
    }

    let names: HashMap<u32, Process> = (snapshots.iter().map(|snapshot| &snapshot.process))
        .chain(facts.processes.iter().map(|facts| &facts.process))
        .map(|process| (process.pid, process.clone()))
        .collect();
    let Verdicts { known, all, .. } = verdicts;
    let verdict = |cause: Option<RowCause>| Some(all[*known.get(&cause?)? as usize].clone());
    let found = findings.snapshots.into_iter().zip(of_processes);
    for (snapshot, (found, of_process)) in snapshots.iter_mut().zip(found) {
        snapshot.findings = of_process;
        for (row, cause) in snapshot.requests.iter_mut().zip(found.requests) {
            row.verdict = verdict(cause);
        }
        for (row, cause) in snapshot.connections.iter_mut().zip(found.connections) {
            row.verdict = verdict(cause);
        }
        for (row, end) in snapshot.connections.iter_mut().zip(found.ends) {
            row.socket = end.socket;
            row.socket_unknown = end.unknown;
            row.peer = end.peer.and_then(|(pid, confidence)| {
                let process = names.get(&pid)?.clone();
                Some(ConnectionPeer {
                    process,
                    confidence,
                })
            });
            let possible = end.possible_peers.iter();
            row.possible_peers = possible.filter_map(|pid| names.get(pid).cloned()).collect();
        }
        for (row, cause) in snapshot.channels.iter_mut().zip(found.channels) {
            row.verdict = verdict(cause);
        }
    }
    for (row, verdict) in in_cycles {
        let snapshot = &mut snapshots[row.process as usize];
        snapshot.requests[row.index as usize].verdict = Some(verdict);
    }
    Explanation {
        graph,
        verdicts: all,
        unconfirmed: findings.unconfirmed,
        is_ambiguous: findings.is_ambiguous,
    }
}

/// Gives hubs their findings: what two readings show, of which `before` is the first. A hub that is in one of them only
/// has none.
pub fn explain_hubs(before: &[Hub], hubs: &mut [Hub]) {
    for hub in hubs {
        let same = before.iter().find(|other| other.file == hub.file);
        if let (Some(before), HubContent::Content(after)) =
            (same.and_then(Hub::state), &hub.content)
        {
            let findings = hub_findings(before, after).into_iter();
            hub.findings = findings
                .map(|(kind, severity)| hub_finding(after, kind, severity))
                .collect();
        }
    }
}

/// The verdicts that were put into words: rows share them.
struct Verdicts<'a> {
    wording: &'a Wording<'a>,
    causes: &'a [Cause],
    measures: &'a [Measure],
    known: HashMap<RowCause, u32>,
    /// The last one that was asked for: rows beside each other often have the same cause.
    last: Option<(RowCause, u32)>,
    /// The last one with a text: different causes often come to the same.
    by_text: HashMap<Arc<str>, u32>,
    all: Vec<Arc<Verdict>>,
}

impl Verdicts<'_> {
    fn of(&mut self, cause: RowCause) -> &Arc<Verdict> {
        let index = match self.last {
            Some((last, index)) if last == cause => index,
            _ => self.index_of(cause),
        };
        self.last = Some((cause, index));
        &self.all[index as usize]
    }

    fn index_of(&mut self, cause: RowCause) -> u32 {
        if let Some(&index) = self.known.get(&cause) {
            return index;
        }
        let of = &self.causes[cause.cause.0 as usize];
        let measure = cause
            .measure
            .map(|MeasureId(id)| self.measures[id as usize]);
        let index = self.add(self.wording.verdict(of, measure)).index;
        self.known.insert(cause, index);
        index
    }

    /// Gives a verdict its index.
    fn add(&mut self, verdict: Verdict) -> Arc<Verdict> {
        if let Some(&index) = self.by_text.get(&verdict.text) {
            let known = &self.all[index as usize];
            if (known.code, &known.evidence) == (verdict.code, &verdict.evidence) {
                return Arc::clone(known);
            }
        }
        let index = self.all.len() as u32;
        self.by_text.insert(Arc::clone(&verdict.text), index);
        self.all.push(Arc::new(Verdict { index, ..verdict }));
        Arc::clone(&self.all[index as usize])
    }
}

fn wait_graph(graph: Graph, wording: &Wording<'_>, verdicts: &mut Verdicts<'_>) -> WaitGraph {
    let mut nodes = graph.nodes;
    for (node, cause) in nodes.iter_mut().zip(graph.causes) {
        match cause {
            Some(cause) => node.verdict = Some(verdicts.of(cause).clone()),
            None => node.text = pile(&node.kind),
        }
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
        ..WaitGraph::default()
    }
}

/// The nodes of processes say what was found about the whole process.
fn describe_processes(
    graph: &mut WaitGraph,
    snapshots: &[Snapshot],
    of_processes: &[Vec<ProcessFinding>],
    wording: &Wording<'_>,
) {
    let of_pid: HashMap<u32, &[ProcessFinding]> = snapshots
        .iter()
        .zip(of_processes)
        .map(|(snapshot, findings)| (snapshot.process.pid, findings.as_slice()))
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
