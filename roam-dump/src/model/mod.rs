//! What a dump is made of: types only. Field names and their order are the JSON schema, version
//! [`SCHEMA_VERSION`]. All text in it is printable: what a target wrote was escaped when it was decoded.

mod channel;
mod connection;
mod dump;
mod gap;
mod graph;
mod hub;
pub mod id;
mod process;
mod request;
mod snapshot;
mod source;
mod statistics;
mod verdict;
mod window;

pub use channel::Channel;
pub use connection::{
    Connection, ConnectionPeer, ConnectionSocket, Delivering, Driver, SocketUnknown, Traffic,
};
pub use dump::{Dump, SCHEMA_VERSION};
pub use gap::Gap;
pub use graph::{Basis, Confidence, Deadlock, Edge, MadeBy, Node, NodeKind, Pile, Root, WaitGraph};
pub use hub::{
    Doorbell, Hub, HubContent, HubDirection, HubFile, HubFinding, HubFindingKind, HubMessage,
    HubPeer, HubRing, HubRole, HubState, HubUser, MessageKind, MessageSlot, PeerState, PoolOwner,
    SlotOwner, SlotPool, SlotStatus, WaitingThread,
};
pub use process::{
    FindingKind, Process, ProcessDetails, ProcessFinding, ProcessState, RuntimeBlocked, Severity,
};
pub use request::Request;
pub use snapshot::{Snapshot, TableUse};
pub use source::Source;
pub use statistics::{Latency, MethodStatistics, Outcomes};
pub use verdict::{Code, Evidence, Relation, Verdict};
pub use window::{ConnectionWindow, Window};
