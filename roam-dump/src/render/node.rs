//! Nodes of the wait graph in one line.

use std::fmt;

use roam_trace_common::event::{Mark, Phase};

use super::fold::{Ages, Ids, Times};
use crate::count::Count;
use crate::duration::Age;
use crate::model::{Node, NodeKind, Pile, Root};

/// Nodes that are alike in one line, below what they wait for.
pub(super) struct Line<'a>(pub(super) &'a [&'a Node]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(nodes) = self;
        let first = nodes[0];
        write!(f, "{}", Signature(first))?;
        if nodes.len() > 1 {
            write!(f, " {}", Times(nodes.len()))?;
        }
        match (request_ids(nodes), first.sentence()) {
            (Some(ids), _) => {
                let ages = Ages::of(nodes.iter().map(|node| node.age_us));
                write!(f, " {ages} ({ids})")
            }
            (None, Some(text)) => write!(f, ": {text}"),
            (None, None) => Ok(()),
        }
    }
}

/// Roots that are alike in one line, with the age of the first, by which they are ranked.
pub(super) struct RootLine<'a> {
    pub(super) roots: &'a [&'a Root],
    /// The node of each.
    pub(super) nodes: &'a [&'a Node],
}

impl fmt::Display for RootLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { roots, nodes } = self;
        let first = nodes[0];
        write!(f, "{}", Signature(first))?;
        if nodes.len() > 1 {
            write!(f, " {}", Times(nodes.len()))?;
        }
        let facts = request_ids(nodes).into_iter().chain(waiters(roots));
        let facts: Vec<_> = facts.collect();
        if !facts.is_empty() {
            write!(f, " ({})", facts.join("; "))?;
        }
        match first.sentence() {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// Returns what waits for roots, and since when.
pub(super) fn waiters(roots: &[&Root]) -> Option<String> {
    let oldest_us = roots.iter().map(|root| root.oldest_us).max()?;
    let age = Age(oldest_us);
    // A call that waits for several roots is counted for each.
    let up_to = if roots.len() > 1 { "up to " } else { "" };
    let calls: u64 = roots.iter().map(|root| u64::from(root.waiters)).sum();
    match calls {
        0 if roots.iter().all(|root| root.is_alarm) => None,
        0 => Some(format!("nobody waits for it, {age} old")),
        1 => Some(format!("1 call has waited {age}")),
        calls => Some(format!(
            "{up_to}{} calls wait, the oldest {age}",
            Count(calls)
        )),
    }
}

/// Returns the ids of the requests that the nodes are.
fn request_ids(nodes: &[&Node]) -> Option<String> {
    let ids = || nodes.iter().filter_map(|node| request_id(node));
    ids().next()?;
    Some(format!("req_id={}", Ids::of(ids())))
}

/// Returns the id of the request that a node is.
pub(super) fn request_id(node: &Node) -> Option<u64> {
    match node.kind {
        NodeKind::Call { request_id, .. } | NodeKind::Handler { request_id, .. } => {
            Some(request_id)
        }
        NodeKind::Handlers(_) | NodeKind::Driver { .. } | NodeKind::Process => None,
    }
}

/// A node without what grows with time.
pub(super) struct Signature<'a>(pub(super) &'a Node);

impl fmt::Display for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.0;
        write!(f, "{} ", node.process)?;
        match &node.kind {
            NodeKind::Call {
                method, made_by, ..
            } => write!(f, "{} → {method}", made_by.as_str()),
            NodeKind::Handler {
                method,
                phase,
                mark,
                ..
            } => {
                let state = match (mark, phase) {
                    (Some(Mark::EndedWithoutAnswer), _) => "ended without answer",
                    (_, Phase::Received) => "received",
                    (_, Phase::Responding) => "responding",
                    _ => "running",
                };
                write!(f, "{method} {state}")
            }
            NodeKind::Handlers(pile) => {
                let Pile {
                    method,
                    running,
                    calls_out,
                    ..
                } = &**pile;
                write!(f, "{} {method} run, ", Count((*running).into()))?;
                match calls_out {
                    0 => f.write_str("none has a call out"),
                    1 => f.write_str("1 has a call out"),
                    calls => write!(f, "{} have a call out", Count((*calls).into())),
                }
            }
            NodeKind::Driver { name, .. } => write!(f, "connection {name}"),
            NodeKind::Process => f.write_str("process"),
        }
    }
}
