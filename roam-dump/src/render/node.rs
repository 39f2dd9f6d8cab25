//! A node of the wait graph in one line.

use std::fmt;

use roam_trace_common::event::Phase;

use crate::duration::Age;
use crate::model::{Node, NodeKind};

/// A node in one line.
pub(super) struct Line<'a> {
    pub(super) node: &'a Node,
    /// Whether it waits for nothing: what others wait for stands above them.
    pub(super) is_bottom: bool,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        write!(f, "{}", Signature(node))?;
        match &node.kind {
            NodeKind::Call { .. } | NodeKind::Handler { .. } => write!(f, " {}", Age(node.age_us))?,
            NodeKind::Driver { .. } | NodeKind::Process => {}
        }
        let is_driver = matches!(node.kind, NodeKind::Driver { .. });
        match &node.text {
            Some(text) if self.is_bottom || is_driver => write!(f, ": {text}"),
            _ => Ok(()),
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
            } => {
                let made_by = made_by.as_deref().unwrap_or("(parent unknown)");
                write!(f, "{made_by} → {method}")
            }
            NodeKind::Handler { method, phase, .. } => {
                let phase = match phase {
                    Phase::Received => "received",
                    Phase::Responding => "responding",
                    _ => "running",
                };
                write!(f, "{method} {phase}")
            }
            NodeKind::Driver { name, .. } => write!(f, "connection {name}"),
            NodeKind::Process => f.write_str("process"),
        }
    }
}
