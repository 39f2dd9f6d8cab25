//! Who waits for whom, and who is at the bottom. Names and order of the fields
//! are part of the JSON schema.
//!
//! An edge is what a rule found a row to wait for, so the graph claims nothing
//! that a verdict does not. A row that waits for nothing known is a root; a
//! circle of edges is a deadlock. One step is not recorded anywhere: that a
//! handler waits, by a lock say, for another handler of its process. Where taking
//! it for granted closes a circle through two or more such handlers, the circle
//! is shown as a likely deadlock and said to be that.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use std::collections::BTreeMap;

use crate::model::{
    Code, Deadlock, Edge, Node, NodeKind, Process, ProcessState, Root, Verdict, WaitGraph,
};
use roam_trace_common::event::{Direction, Phase, RequestKind};

use super::circle::{Circles, circles};
use super::court::Court;
use super::rules::{Finding, On};
use super::scene::RowId;

/// The graph, and how its nodes belong to rows.
pub(super) struct Built {
    pub(super) graph: WaitGraph,
    pub(super) on: Vec<On>,
    /// Nodes of a circle, likely or certain, with the place of the circle's root.
    pub(super) in_circle: BTreeMap<u32, u32>,
}

/// Builds the graph out of what the rules find for requests and drivers.
pub(super) struct Builder<'a> {
    court: &'a Court<'a>,
    /// Places of requests' nodes, by process and row.
    requests: Vec<Vec<u32>>,
    /// Places of other nodes.
    others: HashMap<On, u32>,
    on: Vec<On>,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// Names, each kept once: the graph's text groups nodes by them.
    methods: HashMap<(u32, RequestKind, u64), Arc<str>>,
    processes: HashMap<u32, Arc<Process>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(court: &'a Court<'a>) -> Self {
        // Most often there is a node and an edge for every one, and few besides; memory that is not touched costs
        // nothing, and to move what there is would cost it twice.
        let requests = court.scene.requests().count();
        let most = requests + requests / 8 + 64;
        Self {
            court,
            requests: court
                .scene
                .snapshots
                .iter()
                .map(|snapshot| vec![NONE; snapshot.requests.len()])
                .collect(),
            others: HashMap::new(),
            on: Vec::with_capacity(most),
            nodes: Vec::with_capacity(most),
            edges: Vec::with_capacity(most),
            methods: HashMap::new(),
            processes: HashMap::new(),
        }
    }

    /// Adds what was found for a node, and hands the verdict on.
    pub(super) fn add(&mut self, on: On, finding: Finding) -> Verdict {
        let from = self.place(on);
        self.tell(from, &finding.verdict);
        for wait in finding.waits_for {
            let to = self.place(wait.on);
            self.edges.push(Edge {
                from,
                to,
                confidence: wait.confidence,
                basis: wait.basis,
            });
        }
        finding.verdict
    }

    pub(super) fn finish(self) -> Built {
        let mut built = Built {
            graph: WaitGraph {
                nodes: self.nodes,
                edges: self.edges,
                roots: Vec::new(),
            },
            on: self.on,
            in_circle: BTreeMap::new(),
        };
        find_roots(self.court, &mut built);
        built
    }

    /// The node of a request, driver or process, made where there is none yet.
    fn place(&mut self, on: On) -> u32 {
        let known = match on {
            On::Request(row) => self.requests[row.process as usize][row.index as usize],
            _ => self.others.get(&on).copied().unwrap_or(NONE),
        };
        if known != NONE {
            return known;
        }
        let place = self.nodes.len() as u32;
        let node = self.node(on);
        self.nodes.push(node);
        self.on.push(on);
        match on {
            On::Request(row) => self.requests[row.process as usize][row.index as usize] = place,
            _ => {
                self.others.insert(on, place);
            }
        }
        place
    }

    fn tell(&mut self, place: u32, verdict: &Verdict) {
        let node = &mut self.nodes[place as usize];
        node.code = Some(verdict.code);
        node.text = Some(verdict.text.clone());
    }

    /// A request's method, as a person reads it.
    fn method(&mut self, row: RowId) -> Arc<str> {
        let request = self.court.scene.request(row);
        self.methods
            .entry((row.process, request.kind, request.method_id))
            .or_insert_with(|| request.method_name().into())
            .clone()
    }

    fn process(&mut self, process: u32) -> Arc<Process> {
        let scene = self.court.scene;
        self.processes
            .entry(process)
            .or_insert_with(|| Arc::new(scene.snapshot(process).process.clone()))
            .clone()
    }

    fn node(&mut self, on: On) -> Node {
        let scene = self.court.scene;
        let (process, kind, age_us) = match on {
            On::Request(row) => {
                let request = scene.request(row);
                let kind = match request.direction {
                    Direction::Outgoing => NodeKind::Call {
                        serial: request.serial,
                        method: self.method(row),
                        made_by: scene.parent(row).map(|parent| self.method(parent)),
                    },
                    Direction::Incoming => NodeKind::Handler {
                        serial: request.serial,
                        method: self.method(row),
                        phase: request.phase,
                    },
                };
                (self.process(row.process), kind, request.age_us)
            }
            On::Driver(link) => {
                let connection = scene.connection(link);
                let kind = NodeKind::Driver {
                    connection: link.serial,
                    name: connection.map_or_else(|| "".into(), |row| row.name.clone()),
                };
                (self.process(link.process), kind, 0)
            }
            On::Process(pid) => {
                let process = scene.process_facts(pid).map_or_else(
                    || Process {
                        pid,
                        name: String::new(),
                    },
                    |facts| facts.process.clone(),
                );
                (Arc::new(process), NodeKind::Process, 0)
            }
        };
        Node {
            process,
            kind,
            age_us,
            code: None,
            text: match on {
                On::Process(pid) => match scene.life(pid) {
                    ProcessState::Alive => None,
                    ProcessState::Stopped => Some("stopped by a signal or a debugger".into()),
                    ProcessState::Dead => Some("dead".into()),
                },
                On::Request(_) | On::Driver(_) => None,
            },
        }
    }
}

/// No root of that node.
const NONE: u32 = u32::MAX;

/// Finds circles and what waits for nothing, and puts first what holds something up for longest.
fn find_roots(court: &Court<'_>, built: &mut Built) {
    let count = built.graph.nodes.len();
    let steps: Vec<(u32, u32)> = built
        .graph
        .edges
        .iter()
        .map(|edge| (edge.from, edge.to))
        .collect();
    let certain = circles(count, &steps);
    let mut is_sink = vec![true; certain.len()];
    let mut is_circle: Vec<bool> = (0..certain.len())
        .map(|group| certain.group(group).len() > 1)
        .collect();
    for &(from, to) in &steps {
        let (from_group, to_group) = (certain.group_of(from), certain.group_of(to));
        if from_group != to_group {
            is_sink[from_group] = false;
        } else if from == to {
            is_circle[from_group] = true;
        }
    }
    let oldest_us = oldest_waiters(&built.graph, &certain, &steps);

    let mut roots = Vec::new();
    let mut root_of = vec![NONE; count];
    for group in (0..certain.len()).filter(|&group| is_sink[group]) {
        let members = certain.group(group);
        let deadlock = is_circle[group].then_some(Deadlock::Certain);
        let nodes = match deadlock {
            Some(_) => in_order(members, &steps),
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
    for (leaves, members) in likely_circles(court, built, &steps, &root_of) {
        join_roots(&mut roots, &root_of, &leaves);
        for member in members {
            built.in_circle.insert(member, leaves[0]);
        }
    }
    roots.retain(|root| !root.nodes.is_empty());
    for root in &roots {
        if root.deadlock == Some(Deadlock::Certain) {
            for &member in &root.nodes {
                built.in_circle.insert(member, root.nodes[0]);
            }
        }
    }
    roots.sort_by_key(|root| (std::cmp::Reverse(root.oldest_us), root.nodes[0]));
    built.graph.roots = roots;
}

/// Makes one root of those of a likely circle, in the place of the first.
fn join_roots(roots: &mut [Root], root_of: &[u32], leaves: &[u32]) {
    let place = |leaf: u32| root_of[leaf as usize] as usize;
    let oldest_us = leaves
        .iter()
        .map(|&leaf| roots[place(leaf)].oldest_us)
        .max()
        .unwrap_or(0);
    for &leaf in leaves {
        roots[place(leaf)].nodes.clear();
    }
    roots[place(leaves[0])] = Root {
        nodes: leaves.to_vec(),
        deadlock: Some(Deadlock::Likely),
        oldest_us,
    };
}

/// For every group, the age of the oldest node that leads to it. Groups come after those that they lead to.
fn oldest_waiters(graph: &WaitGraph, groups: &Circles, steps: &[(u32, u32)]) -> Vec<u64> {
    let mut oldest_us: Vec<u64> = (0..groups.len())
        .map(|group| {
            let ages = groups.group(group).iter();
            ages.map(|&node| graph.nodes[node as usize].age_us)
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

/// The members of a circle in the order of their steps, from the first on; then those beside the way.
fn in_order(members: &[u32], steps: &[(u32, u32)]) -> Vec<u32> {
    let mut next: HashMap<u32, u32> = HashMap::new();
    for &(from, to) in steps {
        if members.contains(&from) && members.contains(&to) {
            next.entry(from).or_insert(to);
        }
    }
    let mut at = members.iter().copied().min().unwrap_or(0);
    // Wherever it begins, a walk that always takes the same step ends in a circle.
    let mut seen = Vec::new();
    while !seen.contains(&at) {
        seen.push(at);
        match next.get(&at) {
            Some(&to) => at = to,
            None => break,
        }
    }
    let start = seen.iter().position(|&node| node == at).unwrap_or(0);
    let mut order = seen.split_off(start);
    order.extend(seen);
    for &member in members {
        if !order.contains(&member) {
            order.push(member);
        }
    }
    order
}

/// Circles that close if a handler at the bottom waits for the handlers of its process that wait in a
/// call: the handlers at the bottom, and every request on the way.
fn likely_circles(
    court: &Court<'_>,
    built: &Built,
    steps: &[(u32, u32)],
    root_of: &[u32],
) -> Vec<(Vec<u32>, Vec<u32>)> {
    let processes = court.scene.snapshots.len();
    let count = built.graph.nodes.len();
    let (mut waiting, mut bottom) = (Vec::new(), Vec::new());
    for (place, on) in (0..).zip(&built.on) {
        let On::Request(row) = *on else { continue };
        let request = court.scene.request(row);
        if request.direction != Direction::Incoming || request.phase != Phase::Running {
            continue;
        }
        // Stands for "the handlers of this process that wait", so that there are few steps.
        let handlers = (count as u32) + row.process;
        if !court.scene.children(row).is_empty() {
            waiting.push((handlers, place));
        } else if root_of[place as usize] != NONE
            && built.graph.nodes[place as usize].code == Some(Code::HandlerRunning)
        {
            bottom.push((place, handlers));
        }
    }
    if waiting.is_empty() || bottom.is_empty() {
        return Vec::new();
    }
    let steps = [steps, &waiting, &bottom].concat();
    let all = circles(count + processes, &steps);
    (0..all.len())
        .map(|group| all.group(group))
        .filter(|group| group.len() > 1)
        .filter_map(|group| {
            let mut members: Vec<u32> = group
                .iter()
                .copied()
                .filter(|&node| (node as usize) < count)
                .collect();
            members.sort_unstable();
            let leaves: Vec<u32> = members
                .iter()
                .copied()
                .filter(|&node| root_of[node as usize] != NONE)
                .collect();
            (leaves.len() > 1).then_some((leaves, members))
        })
        .collect()
}
