//! Why rows are stuck, and who waits for whom.
//!
//! Pure: snapshots and [`Facts`] in, `Findings` out. The rows of all processes
//! make an index; its links are paired, then the two rows of each call; the rules
//! judge every row that is stuck; the graph is made of what they found. Nothing
//! here looks at the system, and nothing has words for what it finds.

mod basis;
mod call;
mod context;
mod cycle;
mod driver;
mod evidence;
mod facts;
mod finding;
mod graph;
mod index;
mod link_end;
mod pairing;
mod peer;
mod reason;
mod rules;

pub(crate) use basis::{PairingBasis, PairingId, WaitBasis};
pub(crate) use call::Contradiction;
pub(crate) use driver::DriverStall;
pub use facts::{
    CounterSample, Counters, Facts, Neighbour, Peer, ProcessFacts, TransportSocket, Via,
};
pub(crate) use finding::{Cause, CauseId};
pub(crate) use graph::Graph;
pub(crate) use index::{Endpoint, RowId};
pub(crate) use link_end::LinkEnd;
pub(crate) use peer::PeerIdentity;
pub(crate) use reason::{
    CallReason, ChannelReason, DriverActivity, HandlerReason, Heard, HeldUp, MadeCalls, Queue,
    Reason,
};

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt};

use call::Calls;
use context::Analysis;
use finding::{Finding, WaitTarget};
use graph::{Builder, Roots, find_roots};
use index::SnapshotIndex;

use crate::model::{Code, Deadlock, Process, Root, Snapshot};

/// How long something takes before it counts as stuck, unless asked otherwise.
pub const STUCK_US: u64 = 1_000_000;

/// Everything that was found.
pub(crate) struct Findings {
    pub(crate) causes: Vec<Cause>,
    /// What the pairs of links rest on.
    pub(crate) pairings: Vec<PairingBasis>,
    /// In the order of the snapshots.
    pub(crate) rows: Vec<RowCauses>,
    pub(crate) graph: Graph,
    pub(crate) roots: Vec<Root>,
    pub(crate) deadlocks: Vec<DeadlockCycle>,
    /// Processes whose rows contradict those of others.
    pub(crate) contradicting: BTreeSet<u32>,
    /// Whether there are links whose other end may be one of several.
    pub(crate) is_ambiguous: bool,
}

/// Why the rows of one snapshot are stuck, in their order.
pub(crate) struct RowCauses {
    pub(crate) requests: Vec<Option<CauseId>>,
    pub(crate) connections: Vec<Option<CauseId>>,
    pub(crate) channels: Vec<Option<CauseId>>,
    /// Of each connection.
    pub(crate) ends: Vec<LinkEnd>,
}

/// Rows that wait for each other.
pub(crate) struct DeadlockCycle {
    /// Their processes, each once, in the order of the cycle.
    pub(crate) processes: Vec<Process>,
    pub(crate) is_certain: bool,
    /// The requests among them, and why each is stuck.
    pub(crate) requests: Vec<(RowId, CauseId)>,
}

/// Finds why rows older than `stuck_us` are stuck, and who waits for whom.
pub(crate) fn analyze(snapshots: &[Snapshot], facts: &Facts, stuck_us: u64) -> Findings {
    let index = SnapshotIndex::new(snapshots, facts, stuck_us);
    let calls = Calls::new(pairing::pair(&index));
    let analysis = Analysis::new(&index, &calls);
    let mut graph = Builder::new(&index);
    let mut contradicting = BTreeSet::new();
    let mut is_ambiguous = false;
    let rows = judge_rows(&analysis, |row, finding| {
        is_ambiguous |= finding.code == Code::PeerAmbiguous;
        if matches!(finding.code, Code::Inconsistent | Code::CallerGone) {
            contradicting.extend(both_processes(&analysis, row).into_iter().flatten());
        }
        graph.add(WaitTarget::Request(row), finding);
    });
    add_drivers(&analysis, &mut graph);
    let mut graph = graph.finish();
    let Roots { roots, in_cycle } = find_roots(&index, &graph);
    let deadlocks = find_deadlocks(&roots, &in_cycle, &mut graph);
    Findings {
        causes: analysis.into_causes(),
        pairings: calls.into_pairs().bases,
        rows,
        graph,
        roots,
        deadlocks,
        contradicting,
        is_ambiguous,
    }
}

/// Why rows are stuck. `found` gets what was found of every request.
fn judge_rows(analysis: &Analysis<'_>, mut found: impl FnMut(RowId, &Finding)) -> Vec<RowCauses> {
    let cause = |finding: Option<Finding>| finding.map(|finding| finding.cause);
    let judge = |(process, snapshot): (u32, &Snapshot)| {
        let endpoint = |serial| Endpoint { process, serial };
        let requests = (0..).zip(&snapshot.requests).map(|(index, _)| {
            let row = RowId { process, index };
            let finding = rules::judge_request(analysis, row)?;
            found(row, &finding);
            Some(finding.cause)
        });
        let connections = snapshot.connections.iter();
        let channels = snapshot.channels.iter();
        RowCauses {
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

fn add_drivers(analysis: &Analysis<'_>, graph: &mut Builder<'_>) {
    for (process, snapshot) in (0..).zip(analysis.index.snapshots) {
        for row in &snapshot.connections {
            let serial = row.serial;
            let link = Endpoint { process, serial };
            if let Some(finding) = rules::judge_driver(analysis, link) {
                graph.add(WaitTarget::Driver(link), &finding);
            }
        }
    }
}

/// The cycles among the roots. Their requests' nodes get the code of a deadlock.
fn find_deadlocks(
    roots: &[Root],
    in_cycle: &BTreeMap<u32, u32>,
    graph: &mut Graph,
) -> Vec<DeadlockCycle> {
    let mut by_first_node = HashMap::new();
    let mut deadlocks = Vec::new();
    for root in roots {
        if let Some(deadlock) = root.deadlock {
            by_first_node.insert(root.nodes[0], deadlocks.len());
            deadlocks.push(DeadlockCycle {
                processes: processes_of(graph, root),
                is_certain: deadlock == Deadlock::Certain,
                requests: Vec::new(),
            });
        }
    }
    for (&node, first) in in_cycle {
        let at = node as usize;
        if let (Some(&deadlock), WaitTarget::Request(row), Some(cause)) = (
            by_first_node.get(first),
            graph.targets[at],
            graph.causes[at],
        ) {
            deadlocks[deadlock].requests.push((row, cause));
            graph.nodes[at].code = Some(Code::Deadlock);
        }
    }
    deadlocks
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
