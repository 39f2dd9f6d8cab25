//! Who waits for whom. Names and order of the fields are part of the JSON schema.

use std::collections::HashSet;
use std::sync::Arc;

use roam_trace_common::event::{Mark, Phase};
use serde::{Serialize, Serializer};

#[cfg(feature = "schema")]
use super::id::Id;
use super::id::id;
use super::{Code, Process, Verdict};

/// The wait graph: who waits for whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WaitGraph {
    /// Everything that waits or is waited for; edges and roots hold indexes into this list.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<NodeFields<'static>>"))]
    pub nodes: Vec<Node>,
    /// From what waits to what it waits for.
    pub edges: Vec<Edge>,
    /// The end of each chain, first the one that most calls wait for.
    pub roots: Vec<Root>,
    /// Whether there were too many steps between rows to find everything that waits for each root: more calls may wait,
    /// and for longer, and the order of the roots may be wrong.
    pub is_ranking_incomplete: bool,
}

impl WaitGraph {
    /// Returns the roots that are a reason for an alarm and at least that old, in microseconds: the first of each user,
    /// since any user can report calls that never were.
    pub fn alarms(&self, oldest_us: u64) -> Vec<&Root> {
        let mut users = HashSet::new();
        let user = |root: &Root| self.nodes[root.nodes[0] as usize].process.user;
        let is_alarm = |root: &&Root| root.is_alarm && root.oldest_us >= oldest_us;
        let alarms = self.roots.iter().filter(is_alarm);
        alarms.filter(|root| users.insert(user(root))).collect()
    }
}

/// Something that waits or is waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its process.
    pub process: Arc<Process>,
    /// What it is.
    pub kind: NodeKind,
    /// Its age in microseconds.
    pub age_us: u64,
    /// The code of its verdict, if it has one.
    pub code: Option<Code>,
    /// Its verdict, if it has one.
    pub verdict: Option<Arc<Verdict>>,
    /// What else is known of it: of a process or of many handlers.
    pub text: Option<Arc<str>>,
}

/// A node in JSON. What its row has is not repeated.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct NodeFields<'a> {
    pid: u32,
    #[serde(flatten)]
    kind: &'a NodeKind,
    /// Of a process without rows the only place for its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_row = matches!(self.kind, NodeKind::Call { .. } | NodeKind::Handler { .. });
        let verdict = self.verdict.as_ref().filter(|_| !has_row);
        NodeFields {
            pid: self.process.pid,
            kind: &self.kind,
            process: Some(&*self.process).filter(|_| matches!(self.kind, NodeKind::Process)),
            age_us: Some(self.age_us).filter(|_| !has_row),
            verdict: verdict.map(|verdict| verdict.index),
            text: self.text.as_deref(),
        }
        .serialize(serializer)
    }
}

impl Node {
    /// Returns what is known of it, or else the sentence of its verdict.
    pub fn sentence(&self) -> Option<&str> {
        let verdict = self.verdict.as_ref();
        (self.text.as_deref()).or_else(|| verdict.map(|verdict| &*verdict.text))
    }
}

/// The kind of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "node", rename_all = "snake_case")]
pub enum NodeKind {
    /// A call that the process makes.
    Call {
        /// Serial of its row.
        #[serde(serialize_with = "id")]
        #[cfg_attr(feature = "schema", schemars(with = "Id"))]
        serial: u64,
        /// Its id on the wire.
        #[serde(skip)]
        request_id: u64,
        /// The method.
        method: Arc<str>,
        /// The method whose handler made the call, if known.
        #[serde(skip_serializing_if = "MadeBy::is_nameless")]
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
        made_by: MadeBy,
    },
    /// A call that the process serves.
    Handler {
        /// Serial of its row.
        #[serde(serialize_with = "id")]
        #[cfg_attr(feature = "schema", schemars(with = "Id"))]
        serial: u64,
        /// Its id on the wire.
        #[serde(skip)]
        request_id: u64,
        /// The method.
        method: Arc<str>,
        /// Its phase.
        #[serde(skip)]
        phase: Phase,
        /// Why its row stays although the request can no longer end as usual.
        #[serde(skip)]
        mark: Option<Mark>,
    },
    /// Handlers of one method, at least half of which have no call out: they wait inside their process.
    Handlers(Box<Pile>),
    /// A link and its driver.
    Driver {
        /// Serial of the link's root connection.
        #[serde(serialize_with = "id")]
        #[cfg_attr(feature = "schema", schemars(with = "Id"))]
        connection: u64,
        /// The connection's name.
        name: Arc<str>,
    },
    /// A process of which nothing more is known.
    Process,
}

/// What made a call. In JSON the method, left out if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeBy {
    /// The handler of this method.
    Handler(Arc<str>),
    /// A handler whose request has ended.
    EndedHandler,
    /// No handler: the program itself, or a task that a handler has spawned.
    NoHandler,
    /// It is not known: only probes saw the call, or the row of the handler may be missing.
    Unknown,
}

impl MadeBy {
    /// Returns the method, or in parentheses what is known otherwise.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Handler(method) => method,
            Self::EndedHandler => "(its handler has ended)",
            Self::NoHandler => "(called outside a handler)",
            Self::Unknown => "(caller unknown)",
        }
    }

    fn is_nameless(&self) -> bool {
        !matches!(self, Self::Handler(_))
    }
}

impl Serialize for MadeBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Handlers of one method, most of which have no call out. There are few of them, and many other nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pile {
    /// The method.
    pub method: Arc<str>,
    /// Handlers of that method that run in the process.
    pub running: u32,
    /// How many of those have made a call that is in flight.
    pub calls_out: u32,
    /// Stuck calls of the process that may be theirs: it is not known which handler made them.
    pub parentless_calls: u32,
    /// Calls of the method that ended per second, if the tracer counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_per_second: Option<f64>,
    /// Microseconds since the last one ended; `None` if none did, or if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ended_us: Option<u64>,
}

/// One waits for another.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Edge {
    /// What waits.
    pub from: u32,
    /// What it waits for.
    pub to: u32,
    /// How certain that is.
    pub confidence: Confidence,
    /// The facts that it rests on.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub basis: Basis,
}

/// The end of one or several chains.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Root {
    /// One node that waits for nothing known, or the nodes of a cycle.
    pub nodes: Vec<u32>,
    /// Whether the nodes wait for each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadlock: Option<Deadlock>,
    /// Stuck calls that wait for it. They include the call that it is the handler of, unless the caller is known to be
    /// gone.
    pub waiters: u32,
    /// Microseconds that the oldest of these calls has waited; its own age if there are none.
    pub oldest_us: u64,
    /// The confidence of the surest edge to it.
    pub confidence: Confidence,
    /// Whether it is a reason for an alarm, once it is old enough for one.
    pub is_alarm: bool,
}

/// How nodes wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Deadlock {
    /// Every step is an edge; the nodes are in the order of the steps.
    Certain,
    /// The nodes are handlers, each in a process where another handler waits in a call that leads to
    /// another of the nodes. Nothing shows that the handlers wait for those others.
    PossibleCycle,
}

/// How certain an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The best of several candidates, or the only one left.
    Medium,
    /// Several observations agree, and none contradicts.
    High,
    /// Recorded by the process itself, or shown by the sockets of both ends.
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
