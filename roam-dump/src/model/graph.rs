//! Who waits for whom. Names and order of the fields are part of the JSON schema.

use std::sync::Arc;

use roam_trace_common::event::Phase;
use serde::{Serialize, Serializer};

use super::id::id;
use super::{Code, Process};

/// Who waits for whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WaitGraph {
    /// Everything that waits or is waited for; edges and roots hold indexes into this list.
    pub nodes: Vec<Node>,
    /// From what waits to what it waits for.
    pub edges: Vec<Edge>,
    /// What is at the bottom, the one that holds something up for longest first.
    pub roots: Vec<Root>,
}

/// Something that waits or is waited for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// The process that it is in.
    pub process: Arc<Process>,
    /// What it is.
    #[serde(flatten)]
    pub kind: NodeKind,
    /// Microseconds that it has lasted.
    pub age_us: u64,
    /// The case, where there is a verdict.
    pub code: Option<Code>,
    /// The case in words.
    pub text: Option<Arc<str>>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "node", rename_all = "snake_case")]
pub enum NodeKind {
    /// A call that the process makes.
    Call {
        /// Serial of its row.
        #[serde(serialize_with = "id")]
        serial: u64,
        /// The method.
        method: Arc<str>,
        /// The method whose handler made the call, where that is known.
        made_by: Option<Arc<str>>,
    },
    /// A call that the process serves.
    Handler {
        /// Serial of its row.
        #[serde(serialize_with = "id")]
        serial: u64,
        /// The method.
        method: Arc<str>,
        /// How far it is.
        phase: Phase,
    },
    /// The driver of a link.
    Driver {
        /// Serial of the link's root connection.
        #[serde(serialize_with = "id")]
        connection: u64,
        /// The connection's name.
        name: Arc<str>,
    },
    /// A process of which nothing more is known.
    Process,
}

/// One waits for another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Edge {
    /// What waits.
    pub from: u32,
    /// What it waits for.
    pub to: u32,
    /// How sure that is.
    pub confidence: Confidence,
    /// What it rests on.
    pub basis: Basis,
}

/// What is at the bottom of one or several chains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Root {
    /// One node that waits for nothing known, or those of a deadlock.
    pub nodes: Vec<u32>,
    /// Whether they wait for each other.
    pub deadlock: Option<Deadlock>,
    /// Microseconds for which the oldest of those that wait for it has waited, itself included.
    pub oldest_us: u64,
}

/// How nodes wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deadlock {
    /// Every step is an edge; the nodes are in the order of the steps.
    Certain,
    /// The nodes are handlers, each in a process where another handler waits in a call that leads to
    /// another of the nodes.
    Likely,
}

/// How sure an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The best of several, or found by elimination.
    Medium,
    /// Several observations agree and none objects.
    High,
    /// Recorded by the process itself.
    Known,
}

/// What an edge rests on, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// The same for every edge of its kind.
    Fixed(&'static str),
    /// Worked out for two connections, and shared by what goes over them.
    Found(Arc<str>),
}

impl Basis {
    /// The words.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Found(text) => text,
        }
    }
}

impl Serialize for Basis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
