//! Which root comes first: the one that most stuck calls wait for.

use std::cmp::Reverse;

use roam_trace_common::event::Direction;

use super::builder::Graph;
use crate::analysis::call::OtherEnd;
use crate::analysis::context::Analysis;
use crate::analysis::cycle::adjacency;
use crate::analysis::finding::WaitTarget;
use crate::analysis::index::RowId;
use crate::model::{Code, Confidence, Deadlock, NodeKind, Root};

/// Steps back along the chains of one dump. What a target makes of its rows does not hold up the tracer.
const MAX_STEPS: usize = 20_000_000;

/// How far a root is from what is known to hold calls up. The order is that of the roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// What holds calls up as far as anything is known of it.
    Known,
    /// It may itself wait for something that another root shows.
    PossibleVictim,
    PossibleCycle,
    /// Nobody waits for it.
    Unawaited,
}

/// Which of its two rows a stuck call counts at. Where it is not known which row of one process belongs to which of another, all rows
/// of the process that has more of them count.
#[derive(Debug, Clone, Copy)]
enum Counted {
    Known,
    AmbiguousCaller,
    AmbiguousCallee,
}

/// Sorts roots, and finds what waits for each.
pub(super) struct Ranking<'a> {
    analysis: &'a Analysis<'a>,
    graph: &'a Graph,
    /// For every node, where its waiters begin in the list of all.
    starts: Vec<u32>,
    waiters: Vec<u32>,
    /// The stuck call that each node stands for, if it does.
    calls: Vec<Option<Counted>>,
    /// The surest step to each node.
    confidence: Vec<Option<Confidence>>,
    seen: Vec<u32>,
    round: u32,
    /// Empty between two roots.
    open: Vec<u32>,
    steps: usize,
    is_incomplete: bool,
}

impl<'a> Ranking<'a> {
    pub(super) fn new(analysis: &'a Analysis<'a>, graph: &'a Graph) -> Self {
        let count = graph.nodes.len();
        let mut confidence = vec![None; count];
        for step in &graph.steps {
            let to = step.to as usize;
            confidence[to] = confidence[to].max(Some(step.confidence));
        }
        let call = |target: (usize, &Option<WaitTarget>)| match target {
            (node, &Some(WaitTarget::Request(row))) => {
                stuck_call(analysis, row, graph.is_awaited[node])
            }
            _ => None,
        };
        let calls = graph.targets.iter().enumerate().map(call).collect();
        let backwards: Vec<_> = graph
            .steps
            .iter()
            .map(|step| (step.to, step.from))
            .collect();
        let (starts, waiters) = adjacency(count, &backwards);
        Self {
            analysis,
            graph,
            starts,
            waiters,
            calls,
            confidence,
            seen: vec![0; count],
            round: 0,
            open: Vec::new(),
            steps: 0,
            is_incomplete: false,
        }
    }

    /// Whether there were too many steps to find everything that waits for each root.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// Whether anything waits for a node.
    pub(super) fn is_awaited(&self, node: u32) -> bool {
        self.confidence[node as usize].is_some()
    }

    /// A root of these nodes, with what waits for it.
    pub(super) fn root(&mut self, nodes: Vec<u32>, deadlock: Option<Deadlock>) -> Root {
        self.round += 1;
        let (mut known, mut callers, mut callees, mut oldest_us) = (0_u32, 0_u32, 0_u32, 0);
        let mut open = std::mem::take(&mut self.open);
        open.extend(&nodes);
        while let Some(node) = open.pop() {
            let at = node as usize;
            if std::mem::replace(&mut self.seen[at], self.round) == self.round {
                continue;
            }
            if let Some(counted) = self.calls[at] {
                match counted {
                    Counted::Known => known += 1,
                    Counted::AmbiguousCaller => callers += 1,
                    Counted::AmbiguousCallee => callees += 1,
                }
                oldest_us = oldest_us.max(self.graph.nodes[at].age_us);
            }
            let behind = &self.waiters[self.starts[at] as usize..self.starts[at + 1] as usize];
            if self.steps < MAX_STEPS {
                self.steps += behind.len();
                open.extend(behind);
            } else {
                self.is_incomplete |= !behind.is_empty();
            }
        }
        self.open = open;
        let waiters = known + callers.max(callees);
        let of = |node: &u32| &self.graph.nodes[*node as usize];
        if waiters == 0 {
            oldest_us = nodes.iter().map(|node| of(node).age_us).max().unwrap_or(0);
        }
        let confidence = nodes.iter().map(|&node| self.confidence[node as usize]);
        let mut root = Root {
            deadlock,
            waiters,
            oldest_us,
            confidence: confidence.max().flatten().unwrap_or(Confidence::Known),
            is_alarm: false,
            nodes,
        };
        root.is_alarm = !matches!(self.class(&root), Class::PossibleCycle | Class::Unawaited);
        root
    }

    /// Puts first what most calls wait for, then what they have waited for longest, then what is surest.
    pub(super) fn sort(&self, roots: &mut [Root]) {
        let key = |root: &Root| {
            (
                self.class(root),
                Reverse((root.waiters, root.oldest_us, root.confidence)),
                root.nodes[0],
            )
        };
        // As roots are where nothing leads to them: a hundred thousand keys need memory.
        if !roots.is_sorted_by_key(key) {
            roots.sort_by_cached_key(key);
        }
    }

    fn class(&self, root: &Root) -> Class {
        match (root.deadlock, root.nodes.as_slice()) {
            (Some(Deadlock::PossibleCycle), _) => Class::PossibleCycle,
            (None, &[node]) if self.row(node).is_some() => {
                if root.waiters == 0 {
                    Class::Unawaited
                } else if self.may_be_victim(node) {
                    Class::PossibleVictim
                } else {
                    Class::Known
                }
            }
            _ => Class::Known,
        }
    }

    /// The request that a node stands for, or one of those.
    fn row(&self, node: u32) -> Option<RowId> {
        let row_of = |node: u32| match self.graph.targets[node as usize] {
            Some(WaitTarget::Request(row)) => Some(row),
            _ => None,
        };
        match self.graph.nodes[node as usize].kind {
            NodeKind::Handlers(_) => {
                let first = self.starts[node as usize] as usize;
                row_of(*self.waiters.get(first)?)
            }
            _ => row_of(node),
        }
    }

    /// A call may be answered by what another root shows; a handler of which nothing is known but that it runs may
    /// wait for a call whose handler is unknown, or try again and again to reach a peer that is gone.
    fn may_be_victim(&self, node: u32) -> bool {
        let Some(row) = self.row(node) else {
            return false;
        };
        let (standings, health) = (self.analysis.standings, &self.analysis.health);
        let node = &self.graph.nodes[node as usize];
        match node.kind {
            NodeKind::Call { .. } => {
                matches!(node.code, Some(Code::PeerAmbiguous | Code::Inconsistent))
            }
            NodeKind::Handlers(_) => {
                standings.may_have_called(row.process, node.age_us)
                    || health.has_lost_link(row.process)
            }
            NodeKind::Handler { .. } => {
                node.code == Some(Code::HandlerRunning)
                    && (standings.may_have_called(row.process, node.age_us)
                        || health.has_lost_link(row.process))
            }
            NodeKind::Driver { .. } | NodeKind::Process => false,
        }
    }
}

fn stuck_call(analysis: &Analysis<'_>, row: RowId, is_awaited: bool) -> Option<Counted> {
    let (index, standings) = (analysis.index, analysis.standings);
    standings.is_stuck(row).then_some(())?;
    let request = index.request(row);
    Some(
        match (request.direction, analysis.calls.other_end(index, row)) {
            (Direction::Outgoing, OtherEnd::Ambiguous) => Counted::AmbiguousCaller,
            (Direction::Outgoing, _) => Counted::Known,
            (Direction::Incoming, _) if !is_awaited => return None,
            (Direction::Incoming, OtherEnd::Ambiguous) => Counted::AmbiguousCallee,
            (Direction::Incoming, OtherEnd::Row(caller)) if standings.is_stuck(caller.row) => {
                return None;
            }
            (Direction::Incoming, _) => Counted::Known,
        },
    )
}
