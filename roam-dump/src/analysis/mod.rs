//! Why rows are stuck, and who waits for whom.
//!
//! Pure: snapshots and [`Facts`] in, `Findings` out. The rows of all processes
//! make an index; its links are paired, then the two rows of each call; statistics
//! say which of them are unusual; the rules judge those; the graph is made of what
//! they found. Nothing here looks at the system, and nothing has words for what it finds.

mod basis;
mod call;
mod context;
mod cycle;
mod driver;
mod ended;
mod evidence;
mod facts;
mod finding;
mod graph;
mod health;
mod hub;
mod index;
mod link_end;
mod pairing;
mod peer;
mod reason;
mod rules;
mod stalled_requests;
mod standing;
mod thresholds;
mod usual;

pub(crate) use basis::{PairingBasis, PairingId, WaitBasis};
pub(crate) use call::Contradiction;
pub(crate) use driver::{ChannelReader, DriverStall};
pub use ended::{EndedCalls, EndedSample};
pub use facts::{
    CounterSample, Counters, Facts, Neighbour, Peer, ProcessFacts, StillThere, TransportSocket, Via,
};
pub(crate) use finding::{Cause, RowCause};
pub(crate) use graph::Graph;
pub use hub::hub_findings;
pub(crate) use index::{Endpoint, RowId};
pub(crate) use link_end::LinkEnd;
pub(crate) use peer::PeerIdentity;
pub(crate) use reason::{
    CallReason, ChannelReason, DriverActivity, HandlerReason, Heard, HeldUp, MadeCalls, Queue,
    Reason,
};
pub(crate) use stalled_requests::{RingCause, RingStall};
pub use thresholds::{MethodGlob, STUCK_US, Thresholds};
pub(crate) use usual::{Measure, MeasureId};

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt};

use call::Calls;
use context::Analysis;
use finding::{Finding, WaitTarget};
use graph::{Builder, Roots, find_roots, prune};
use health::LostLink;
use index::SnapshotIndex;
use standing::Standings;
use usual::Measures;

use crate::model::{Code, Deadlock, FindingKind, Process, Root, Severity, Snapshot};

/// Everything that was found.
pub(crate) struct Findings {
    pub(crate) causes: Vec<Cause>,
    /// What the ages of calls were compared with.
    pub(crate) measures: Vec<Measure>,
    /// What the pairs of links rest on.
    pub(crate) pairings: Vec<PairingBasis>,
    /// In the order of the snapshots.
    pub(crate) snapshots: Vec<SnapshotFindings>,
    pub(crate) graph: Graph,
    pub(crate) roots: Vec<Root>,
    pub(crate) is_ranking_incomplete: bool,
    pub(crate) cycles: Vec<Cycle>,
    /// Processes to read again.
    pub(crate) unconfirmed: BTreeSet<u32>,
    /// Whether there are links whose other end may be one of several.
    pub(crate) is_ambiguous: bool,
}

/// What was found of one snapshot, and why its rows are stuck, in their order.
pub(crate) struct SnapshotFindings {
    pub(crate) process: Vec<(FindingKind, Severity)>,
    pub(crate) requests: Vec<Option<RowCause>>,
    pub(crate) connections: Vec<Option<RowCause>>,
    /// Of each connection.
    pub(crate) ends: Vec<LinkEnd>,
    pub(crate) channels: Vec<Option<RowCause>>,
}

/// Rows that wait for each other, or may.
pub(crate) struct Cycle {
    /// Their processes, each once, in the order of the cycle.
    pub(crate) processes: Vec<Process>,
    pub(crate) is_certain: bool,
    /// The requests among them, and why each is stuck.
    pub(crate) requests: Vec<(RowId, RowCause)>,
}

/// Finds why rows are stuck, and who waits for whom.
pub(crate) fn analyze(snapshots: &[Snapshot], facts: &Facts, thresholds: &Thresholds) -> Findings {
    let index = SnapshotIndex::new(snapshots, facts, thresholds.stuck_us);
    let calls = Calls::new(pairing::pair(&index));
    let measures = Measures::new(&index, thresholds);
    let standings = Standings::new(&index, &calls, &measures);
    let analysis = Analysis::new(&index, &calls, &standings);
    let mut builder = Builder::new(&index);
    let mut unconfirmed = BTreeSet::new();
    let mut is_ambiguous = false;
    let snapshots = judge_rows(&analysis, |row, finding| {
        is_ambiguous |= finding.code == Code::PeerAmbiguous;
        if finding.is_unconfirmed {
            unconfirmed.extend(both_processes(&analysis, row).into_iter().flatten());
        }
        builder.add(WaitTarget::Request(row), finding);
    });
    add_links(&analysis, &mut builder, |process| {
        unconfirmed.insert(index.pid(process));
    });
    add_processes(&analysis, &mut builder);
    let mut graph = builder.finish();
    prune(&mut graph, &standings);
    let Roots {
        roots,
        in_cycle,
        is_ranking_incomplete,
    } = find_roots(&analysis, &mut graph);
    let cycles = find_cycles(&roots, &in_cycle, &mut graph);
    let causes = analysis.into_causes();
    for (process, found) in (0..).zip(&snapshots) {
        for row in found.channels.iter().flatten() {
            if let Some(other) = causes[row.cause.0 as usize].reason.missing_in() {
                unconfirmed.extend([process, other].map(|process| index.pid(process)));
            }
        }
    }
    Findings {
        causes,
        measures: measures.into_all(),
        pairings: calls.into_pairs().bases,
        snapshots,
        graph,
        roots,
        is_ranking_incomplete,
        cycles,
        unconfirmed,
        is_ambiguous,
    }
}

/// Why rows are stuck. `found` gets what was found of every request.
fn judge_rows(
    analysis: &Analysis<'_>,
    mut found: impl FnMut(RowId, &Finding),
) -> Vec<SnapshotFindings> {
    let cause = |finding: Option<Finding>| finding.map(|finding| finding.of_row());
    let judge = |(process, snapshot): (u32, &Snapshot)| {
        let endpoint = |serial| Endpoint { process, serial };
        let requests = (0..).zip(&snapshot.requests).map(|(index, _)| {
            let row = RowId { process, index };
            let finding = rules::judge_request(analysis, row)?;
            found(row, &finding);
            Some(finding.of_row())
        });
        let connections = snapshot.connections.iter();
        let channels = snapshot.channels.iter();
        SnapshotFindings {
            process: analysis.health.findings(process).to_vec(),
            requests: requests.collect(),
            ends: (connections.clone())
                .map(|row| LinkEnd::of(analysis, process, row))
                .collect(),
            connections: connections
                .map(|row| rules::judge_connection(analysis, endpoint(row.serial), row))
                .map(cause)
                .collect(),
            channels: channels
                .map(|row| rules::judge_channel(analysis, process, row))
                .map(cause)
                .collect(),
        }
    };
    (0..).zip(analysis.index.snapshots).map(judge).collect()
}

/// The pids of a request's process and of the one at the other end of its link.
fn both_processes(analysis: &Analysis<'_>, row: RowId) -> Option<[u32; 2]> {
    let index = analysis.index;
    let link = index.link(index.endpoint(row));
    let partner = analysis.calls.pairs().partner(link)?;
    Some([row.process, partner.link.process].map(|process| index.pid(process)))
}

/// Adds links that are lost or whose drivers are stalled. `starved` gets the processes with a driver that does not
/// run: it may have got its work the moment before it was read.
fn add_links(analysis: &Analysis<'_>, graph: &mut Builder<'_>, mut starved: impl FnMut(u32)) {
    for (process, snapshot) in (0..).zip(analysis.index.snapshots) {
        for row in &snapshot.connections {
            let serial = row.serial;
            let link = Endpoint { process, serial };
            let has_given_up =
                LostLink::of(row, analysis.index.stuck_us).is_some_and(LostLink::is_given_up);
            let finding = rules::judge_driver(analysis, link)
                .or_else(|| (!has_given_up).then(|| rules::judge_lost_link(analysis, row))?);
            if let Some(finding) = finding {
                if finding.code == Code::RuntimeStarved {
                    starved(process);
                }
                graph.add(WaitTarget::Driver(link), &finding);
            }
        }
    }
}

fn add_processes(analysis: &Analysis<'_>, graph: &mut Builder<'_>) {
    for (process, snapshot) in (0..).zip(analysis.index.snapshots) {
        let pid = snapshot.process.pid;
        if let Some(finding) = rules::judge_process(analysis, process) {
            graph.add(WaitTarget::Process(pid), &finding);
        } else if !analysis.health.findings(process).is_empty() {
            graph.add_process(pid);
        }
    }
}

/// The cycles among the roots. The nodes of requests in a certain one get the code of a deadlock.
fn find_cycles(roots: &[Root], in_cycle: &BTreeMap<u32, u32>, graph: &mut Graph) -> Vec<Cycle> {
    let mut by_first_node = HashMap::new();
    let mut cycles = Vec::new();
    for root in roots {
        if let Some(deadlock) = root.deadlock {
            by_first_node.insert(root.nodes[0], cycles.len());
            cycles.push(Cycle {
                processes: processes_of(graph, root),
                is_certain: deadlock == Deadlock::Certain,
                requests: Vec::new(),
            });
        }
    }
    for (&node, first) in in_cycle {
        let at = node as usize;
        if let (Some(&cycle), Some(WaitTarget::Request(row)), Some(cause)) = (
            by_first_node.get(first),
            graph.targets[at],
            graph.causes[at],
        ) {
            let cycle: &mut Cycle = &mut cycles[cycle];
            cycle.requests.push((row, cause));
            if cycle.is_certain {
                graph.nodes[at].code = Some(Code::Deadlock);
            }
        }
    }
    cycles
}

/// The processes that a cycle goes through, each once, in its order.
fn processes_of(graph: &Graph, root: &Root) -> Vec<Process> {
    let mut processes: Vec<Process> = Vec::new();
    for &node in &root.nodes {
        let process = &*graph.nodes[node as usize].process;
        if !processes.contains(process) {
            processes.push(process.clone());
        }
    }
    processes
}
