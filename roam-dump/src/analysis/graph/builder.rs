//! The nodes and steps of the graph, out of what the rules find.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use roam_trace_common::event::{Direction, RequestKind};

use crate::analysis::basis::WaitBasis;
use crate::analysis::finding::{CauseId, Finding, WaitTarget};
use crate::analysis::index::{RowId, SnapshotIndex};
use crate::model::{Confidence, Node, NodeKind, Process};

/// The graph without its roots and without words.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// What each node is of.
    pub(in crate::analysis) targets: Vec<WaitTarget>,
    /// Why each node is stuck, where that was found.
    pub(crate) causes: Vec<Option<CauseId>>,
    pub(crate) steps: Vec<Step>,
}

/// One waits for another.
pub(crate) struct Step {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) confidence: Confidence,
    pub(crate) basis: WaitBasis,
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
                steps: Vec::with_capacity(most),
            },
            methods: HashMap::new(),
            processes: HashMap::new(),
        }
    }

    /// Adds what was found for a node.
    pub(in crate::analysis) fn add(&mut self, target: WaitTarget, finding: &Finding) {
        let from = self.node_index(target);
        self.graph.nodes[from as usize].code = Some(finding.code);
        self.graph.causes[from as usize] = Some(finding.cause);
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
        let index = self.graph.nodes.len() as u32;
        let node = self.node(target);
        self.graph.nodes.push(node);
        self.graph.targets.push(target);
        self.graph.causes.push(None);
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
                        method: self.method(row),
                        made_by: index.parent(row).map(|parent| self.method(parent)),
                    },
                    Direction::Incoming => NodeKind::Handler {
                        serial: request.serial,
                        method: self.method(row),
                        phase: request.phase,
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
                let unnamed = || Process {
                    pid,
                    name: String::new(),
                };
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
            text: None,
        }
    }
}
