//! Why rows are stuck, and who waits for whom.
//!
//! Pure: snapshots and [`Facts`] in, verdicts and a [`WaitGraph`] out. The rows of
//! all processes make a scene; the links of the scene are paired, then the two
//! rows of each call; the rules judge every row that is stuck; the graph is made
//! of what they found. Nothing here looks at the system, and nothing formats a
//! dump.

mod call;
mod circle;
mod court;
mod facts;
mod graph;
mod pair;
mod rules;
mod scene;

pub use facts::{Counters, Facts, Moved, Neighbour, Peer, ProcessFacts, Via};

use std::collections::BTreeSet;
use std::fmt::Write as _;

use call::Calls;
use court::Court;
use foldhash::HashMap;
use graph::{Builder, Built};
use rules::{Finding, On};
use scene::{Endpoint, RowId, Scene};

use crate::model::{Code, Deadlock, Evidence, Process, Root, Snapshot, Verdict, WaitGraph};

/// How long something takes before it counts as stuck, unless somebody says otherwise.
pub const STUCK_US: u64 = 1_000_000;

/// What [`explain`] has to say beside the verdicts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explained {
    /// Who waits for whom.
    pub graph: WaitGraph,
    /// Processes whose rows contradict those of others. Snapshots of several processes are not one
    /// instant: take those anew, and explain again.
    pub contradicting: BTreeSet<u32>,
    /// Whether there are links that are moving and look alike: more looks at their counters may tell them
    /// apart.
    pub is_ambiguous: bool,
}

/// Gives every row that is older than `stuck_us` and stuck its verdict, and says who waits for whom.
pub fn explain(snapshots: &mut [Snapshot], facts: &Facts, stuck_us: u64) -> Explained {
    let (verdicts, explained) = {
        let scene = Scene::new(snapshots, facts, stuck_us);
        let calls = Calls::new(pair::pair(&scene));
        let court = Court::new(&scene, &calls);
        judge(&court)
    };
    for (snapshot, verdicts) in snapshots.iter_mut().zip(verdicts.requests) {
        for (row, verdict) in snapshot.requests.iter_mut().zip(verdicts) {
            row.verdict = verdict;
        }
    }
    for (snapshot, verdicts) in snapshots.iter_mut().zip(verdicts.connections) {
        for (row, verdict) in snapshot.connections.iter_mut().zip(verdicts) {
            row.verdict = verdict;
        }
    }
    for (snapshot, verdicts) in snapshots.iter_mut().zip(verdicts.channels) {
        for (row, verdict) in snapshot.channels.iter_mut().zip(verdicts) {
            row.verdict = verdict;
        }
    }
    explained
}

/// For every row of every process, in the order of the snapshots.
struct Verdicts {
    requests: Vec<Vec<Option<Verdict>>>,
    connections: Vec<Vec<Option<Verdict>>>,
    channels: Vec<Vec<Option<Verdict>>>,
}

fn judge(court: &Court<'_>) -> (Verdicts, Explained) {
    let mut graph = Builder::new(court);
    let mut requests: Vec<Vec<Option<Verdict>>> = court
        .scene
        .snapshots
        .iter()
        .map(|snapshot| vec![None; snapshot.requests.len()])
        .collect();
    let mut contradicting = BTreeSet::new();
    let mut is_ambiguous = false;
    for (row, _) in court.scene.requests() {
        if let Some(finding) = rules::judge_request(court, row) {
            is_ambiguous |= finding.verdict.code == Code::PeerAmbiguous;
            add_contradicting(court, row, &finding, &mut contradicting);
            let verdict = graph.add(On::Request(row), finding);
            requests[row.process as usize][row.index as usize] = Some(verdict);
        }
    }
    let mut connections = Vec::new();
    let mut channels = Vec::new();
    for (process, snapshot) in (0..).zip(court.scene.snapshots) {
        for row in &snapshot.connections {
            let link = Endpoint {
                process,
                serial: row.serial,
            };
            if let Some(finding) = rules::judge_driver(court, link) {
                graph.add(On::Driver(link), finding);
            }
        }
        connections.push(
            snapshot
                .connections
                .iter()
                .map(|row| {
                    let endpoint = Endpoint {
                        process,
                        serial: row.serial,
                    };
                    rules::judge_connection(court, endpoint, row)
                })
                .collect(),
        );
        channels.push(
            snapshot
                .channels
                .iter()
                .map(|row| rules::judge_channel(court, process, row))
                .collect(),
        );
    }
    let mut built = graph.finish();
    tell_deadlocks(&mut built, &mut requests);
    let verdicts = Verdicts {
        requests,
        connections,
        channels,
    };
    let explained = Explained {
        graph: built.graph,
        contradicting,
        is_ambiguous,
    };
    (verdicts, explained)
}

/// Remembers the processes whose rows ought to be looked at again before the verdict is believed.
fn add_contradicting(
    court: &Court<'_>,
    row: RowId,
    finding: &Finding,
    contradicting: &mut BTreeSet<u32>,
) {
    if !matches!(finding.verdict.code, Code::Inconsistent | Code::CallerGone) {
        return;
    }
    let link = court.scene.link(court.scene.endpoint(row));
    if let Some(partner) = court.calls.pairs().partner(link) {
        contradicting.insert(court.scene.pid(row.process));
        contradicting.insert(court.scene.pid(partner.link.process));
    }
}

/// The verdict of every request in a circle becomes that it is in one.
fn tell_deadlocks(built: &mut Built, verdicts: &mut [Vec<Option<Verdict>>]) {
    if built.in_circle.is_empty() {
        return;
    }
    let circles: HashMap<u32, (String, Evidence)> = built
        .graph
        .roots
        .iter()
        .filter_map(|root| {
            let is_certain = root.deadlock? == Deadlock::Certain;
            let processes = processes_of(&built.graph, root);
            Some((root.nodes[0], describe_circle(processes, is_certain)))
        })
        .collect();
    for (&place, root) in &built.in_circle {
        let (Some((text, evidence)), On::Request(row)) =
            (circles.get(root), built.on[place as usize])
        else {
            continue;
        };
        if let Some(verdict) = &mut verdicts[row.process as usize][row.index as usize] {
            verdict.code = Code::Deadlock;
            verdict.text = format!("{text}; {}", verdict.text).into();
            verdict.evidence = verdict.evidence.iter().chain([evidence]).cloned().collect();
            built.graph.nodes[place as usize].code = Some(Code::Deadlock);
        }
    }
}

/// The processes that a circle goes through, each once, in its order.
fn processes_of(graph: &WaitGraph, root: &Root) -> Vec<Process> {
    let mut processes: Vec<Process> = Vec::new();
    for &node in &root.nodes {
        let process = &*graph.nodes[node as usize].process;
        if !processes.contains(process) {
            processes.push(process.clone());
        }
    }
    processes
}

fn describe_circle(processes: Vec<Process>, is_certain: bool) -> (String, Evidence) {
    let mut text = if is_certain {
        "deadlock".to_owned()
    } else {
        "likely deadlock".to_owned()
    };
    let mut names = processes.iter();
    if let [one] = processes.as_slice() {
        let _ = write!(text, ": {one} waits for itself");
    } else if let Some(first) = names.next() {
        let _ = write!(text, ": {first}");
        for name in names {
            let _ = write!(text, " and {name}");
        }
        text.push_str(" wait for each other");
    }
    (
        text,
        Evidence::Cycle {
            processes,
            is_certain,
        },
    )
}
