//! A node of the wait graph in one line.

use std::fmt;

use roam_trace_common::event::{Mark, Phase};

use crate::count::Count;
use crate::duration::Age;
use crate::model::{Node, NodeKind, Pile, Root};

/// A node in one line, below what it waits for.
pub(super) struct Line<'a>(pub(super) &'a Node);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.0;
        write!(f, "{}", Signature(node))?;
        match (&node.kind, node.sentence()) {
            (NodeKind::Call { .. } | NodeKind::Handler { .. }, _) => {
                write!(f, " {}", Age(node.age_us))
            }
            (_, Some(text)) => write!(f, ": {text}"),
            (_, None) => Ok(()),
        }
    }
}

/// A root in one line, with the age that it is ranked by.
pub(super) struct RootLine<'a> {
    pub(super) root: &'a Root,
    pub(super) node: &'a Node,
}

impl fmt::Display for RootLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Signature(self.node), Waiters(self.root))?;
        match self.node.sentence() {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// What waits for a root, and since when.
pub(super) struct Waiters<'a>(pub(super) &'a Root);

impl fmt::Display for Waiters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = Age(self.0.oldest_us);
        match self.0.waiters {
            0 if self.0.is_alarm => Ok(()),
            0 => write!(f, " (nobody waits for it, {age} old)"),
            1 => write!(f, " (1 call has waited {age})"),
            calls => write!(f, " ({} calls wait, the oldest {age})", Count(calls.into())),
        }
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
