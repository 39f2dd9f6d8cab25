//! Who waits for whom. Names and order of the fields are part of the JSON schema.

use std::sync::Arc;

use roam_trace_common::event::Phase;
use serde::{Serialize, Serializer};

use super::id::id;
use super::{Code, Process};

/// The wait graph: who waits for whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WaitGraph {
    /// Everything that waits or is waited for; edges and roots hold indexes into this list.
    pub nodes: Vec<Node>,
    /// From what waits to what it waits for.
    pub edges: Vec<Edge>,
    /// The end of each chain, the longest wait first.
    pub roots: Vec<Root>,
}

/// Something that waits or is waited for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its process.
    pub process: Arc<Process>,
    /// What it is.
    #[serde(flatten)]
    pub kind: NodeKind,
    /// Its age in microseconds.
    pub age_us: u64,
    /// The code of its verdict, if it has one.
    pub code: Option<Code>,
    /// The sentence of its verdict, if it has one.
    pub text: Option<Arc<str>>,
}

/// The kind of a node.
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
        /// The method whose handler made the call, if known.
        made_by: Option<Arc<str>>,
    },
    /// A call that the process serves.
    Handler {
        /// Serial of its row.
        #[serde(serialize_with = "id")]
        serial: u64,
        /// The method.
        method: Arc<str>,
        /// Its phase.
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
    /// How certain that is.
    pub confidence: Confidence,
    /// The facts that it rests on.
    pub basis: Basis,
}

/// The end of one or several chains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Root {
    /// One node that waits for nothing known, or the nodes of a deadlock.
    pub nodes: Vec<u32>,
    /// Whether the nodes wait for each other.
    pub deadlock: Option<Deadlock>,
    /// Microseconds that the oldest node which waits for it, or it itself, has waited.
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

/// How certain an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The best of several candidates, or the only one left.
    Medium,
    /// Several observations agree, and none contradicts.
    High,
    /// Recorded by the process itself.
    Known,
}

/// The facts that an edge rests on, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// The same for every edge of its kind.
    Fixed(&'static str),
    /// Found for two connections, and shared by their requests.
    Found(Arc<str>),
}

impl Basis {
    /// Returns the text.
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
