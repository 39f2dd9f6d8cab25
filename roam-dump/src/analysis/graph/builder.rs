//! The nodes and steps of the graph, out of what the rules find.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use roam_trace_common::event::{Direction, RequestKind};

use crate::analysis::basis::WaitBasis;
use crate::analysis::finding::{Finding, RowCause, WaitTarget};
use crate::analysis::index::{RowId, SnapshotIndex};
use crate::model::{Confidence, MadeBy, Node, NodeKind, Process, Source};

/// The graph without its roots and without words.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// What each node is of; `None` for one that stands for several.
    pub(in crate::analysis) targets: Vec<Option<WaitTarget>>,
    /// Why each node is stuck, where that was found.
    pub(crate) causes: Vec<Option<RowCause>>,
    /// Whether somebody may wait for each node.
    pub(in crate::analysis) is_awaited: Vec<bool>,
    pub(crate) steps: Vec<Step>,
}

/// One waits for another.
pub(crate) struct Step {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) confidence: Confidence,
    pub(crate) basis: WaitBasis,
}

impl Graph {
    pub(super) fn push(&mut self, node: Node, target: Option<WaitTarget>) -> u32 {
        self.nodes.push(node);
        self.targets.push(target);
        self.causes.push(None);
        self.is_awaited.push(true);
        self.nodes.len() as u32 - 1
    }

    /// From what waits to what it waits for.
    pub(super) fn pairs(&self) -> Vec<(u32, u32)> {
        self.steps.iter().map(|step| (step.from, step.to)).collect()
    }
}

/// Builds the graph out of what the rules find for requests and drivers.
pub(in crate::analysis) struct Builder<'a> {
    index: &'a SnapshotIndex<'a>,
    /// Indexes of requests' nodes, by process and row.
    requests: Vec<Vec<u32>>,
    /// Indexes of other nodes.
    others: HashMap<WaitTarget, u32>,
    graph: Graph,
    /// Names, each kept once: the graph's text groups nodes by them.
    methods: HashMap<(u32, RequestKind, u64), Arc<str>>,
    processes: HashMap<u32, Arc<Process>>,
}

/// The index of no node.
const NONE: u32 = u32::MAX;

impl<'a> Builder<'a> {
    pub(in crate::analysis) fn new(index: &'a SnapshotIndex<'a>) -> Self {
        // Most often there is a node and an edge for every one, and few besides; memory that is not touched costs
        // nothing, and to move what there is would cost it twice.
        let requests = index.requests().count();
        let most = requests + requests / 8 + 64;
        Self {
            index,
            requests: index
                .snapshots
                .iter()
                .map(|snapshot| vec![NONE; snapshot.requests.len()])
                .collect(),
            others: HashMap::new(),
            graph: Graph {
                nodes: Vec::with_capacity(most),
                targets: Vec::with_capacity(most),
                causes: Vec::with_capacity(most),
                is_awaited: Vec::with_capacity(most),
                steps: Vec::with_capacity(most),
            },
            methods: HashMap::new(),
            processes: HashMap::new(),
        }
    }

    /// Adds what was found for a node.
    pub(in crate::analysis) fn add(&mut self, target: WaitTarget, finding: &Finding) {
        let from = self.node_index(target);
        let node = &mut self.graph.nodes[from as usize];
        node.code = Some(finding.code);
        node.age_us = node.age_us.max(finding.since_us);
        self.graph.causes[from as usize] = Some(finding.of_row());
        self.graph.is_awaited[from as usize] = finding.is_awaited;
        for wait in &finding.waits_for {
            let to = self.node_index(wait.target);
            self.graph.steps.push(Step {
                from,
                to,
                confidence: wait.confidence,
                basis: wait.basis,
            });
        }
    }

    /// Adds a process, of which more may be known than what waits for it.
    pub(in crate::analysis) fn add_process(&mut self, pid: u32) {
        self.node_index(WaitTarget::Process(pid));
    }

    pub(in crate::analysis) fn finish(self) -> Graph {
        self.graph
    }

    /// The node of a request, driver or process, made where there is none yet.
    fn node_index(&mut self, target: WaitTarget) -> u32 {
        let known = match target {
            WaitTarget::Request(row) => self.requests[row.process as usize][row.index as usize],
            _ => self.others.get(&target).copied().unwrap_or(NONE),
        };
        if known != NONE {
            return known;
        }
        let node = self.node(target);
        let index = self.graph.push(node, Some(target));
        match target {
            WaitTarget::Request(row) => {
                self.requests[row.process as usize][row.index as usize] = index;
            }
            _ => {
                self.others.insert(target, index);
            }
        }
        index
    }

    /// A request's method, as a person reads it.
    fn method(&mut self, row: RowId) -> Arc<str> {
        let request = self.index.request(row);
        self.methods
            .entry((row.process, request.kind, request.method_id))
            .or_insert_with(|| request.method_name().into())
            .clone()
    }

    fn made_by(&mut self, row: RowId) -> MadeBy {
        let index = self.index;
        let request = index.request(row);
        match index.parent(row) {
            Some(parent) => MadeBy::Handler(self.method(parent)),
            // Probes do not see it, and nobody reports it of a connection without a row.
            None if request.source == Source::Probes => MadeBy::Unknown,
            None if index.connection(index.endpoint(row)).is_none() => MadeBy::Unknown,
            None if request.parent.is_none() => MadeBy::NoHandler,
            None if index.snapshot(row.process).gaps.is_empty() => MadeBy::EndedHandler,
            None => MadeBy::Unknown,
        }
    }

    fn process(&mut self, process: u32) -> Arc<Process> {
        let index = self.index;
        self.processes
            .entry(process)
            .or_insert_with(|| Arc::new(index.snapshot(process).process.clone()))
            .clone()
    }

    fn node(&mut self, target: WaitTarget) -> Node {
        let index = self.index;
        let (process, kind, age_us) = match target {
            WaitTarget::Request(row) => {
                let request = index.request(row);
                let kind = match request.direction {
                    Direction::Outgoing => NodeKind::Call {
                        serial: request.serial,
                        request_id: request.request_id,
                        method: self.method(row),
                        made_by: self.made_by(row),
                    },
                    Direction::Incoming => NodeKind::Handler {
                        serial: request.serial,
                        request_id: request.request_id,
                        method: self.method(row),
                        phase: request.phase,
                        mark: request.mark,
                    },
                };
                (self.process(row.process), kind, request.age_us)
            }
            WaitTarget::Driver(link) => {
                let connection = index.connection(link);
                let kind = NodeKind::Driver {
                    connection: link.serial,
                    name: connection.map_or_else(|| "".into(), |row| row.name.clone()),
                };
                (self.process(link.process), kind, 0)
            }
            WaitTarget::Process(pid) => {
                let unnamed = || Process::new(pid, "");
                let facts = index.process_facts(pid);
                let process = facts.map_or_else(unnamed, |facts| facts.process.clone());
                (Arc::new(process), NodeKind::Process, 0)
            }
        };
        Node {
            process,
            kind,
            age_us,
            code: None,
            verdict: None,
            text: None,
        }
    }
}
