//! Shared-memory hubs: slots, peers, rings and doorbells.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

#[cfg(feature = "schema")]
use super::id::Id;
use super::id::{id, optional_id};
use super::process::{Process, ProcessState, Severity};

/// A shared-memory hub of roam-shm.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hub {
    /// The path of its file, as the process that maps it sees it.
    pub path: Arc<str>,
    /// Whether that path is unlinked.
    pub is_deleted: bool,
    /// Major number, minor number and inode of its file; `None` in a dump on SIGUSR1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<HubFile>,
    /// The processes that are known to use it, and what each is.
    pub users: Vec<HubUser>,
    /// What was found about it, the worst first.
    pub findings: Vec<HubFinding>,
    /// What is in it.
    #[serde(flatten)]
    pub content: HubContent,
}

/// What is in a hub, or why that is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HubContent {
    /// It was read.
    Content(Box<HubState>),
    /// It cannot be read, for this reason.
    Error(Arc<str>),
}

impl Hub {
    /// Returns what is in it, if it was read.
    pub fn state(&self) -> Option<&HubState> {
        match &self.content {
            HubContent::Content(state) => Some(state),
            HubContent::Error(_) => None,
        }
    }
}

/// Names the file of a hub on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HubFile {
    /// Major number of its device.
    pub device_major: u32,
    /// Minor number of its device.
    pub device_minor: u32,
    /// Its inode.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub inode: u64,
}

/// A process that maps a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HubUser {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// What it is.
    pub role: HubRole,
}

/// What a process is to a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HubRole {
    /// It owns the hub: its doorbells lead to guests.
    Host,
    /// It is the peer with this number, which its arguments name.
    Guest {
        /// The number.
        peer: u8,
    },
    /// Neither its arguments nor its doorbells show it.
    Unknown,
}

impl fmt::Display for HubRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Guest { peer } => write!(f, "guest, peer {peer}"),
            Self::Unknown => f.write_str("role unknown"),
        }
    }
}

/// What was read of a hub.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HubState {
    /// Version of its layout.
    pub version: u32,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Bytes that it was made with.
    pub total_bytes: u64,
    /// Bytes that it has by now: more once it has grown.
    pub current_bytes: u64,
    /// Bytes that the payload of a message may have.
    pub max_payload_bytes: u32,
    /// Microseconds between two heartbeats, if its host asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_us: Option<u64>,
    /// Whether its host has said goodbye.
    pub host_goodbye: bool,
    /// Peers that it has room for.
    pub max_peers: u32,
    /// Slots for payloads.
    pub pools: Vec<SlotPool>,
    /// The peers, but for those that were never there or are gone.
    pub peers: Vec<HubPeer>,
    /// What was not read, and what is invalid in it.
    pub gaps: Vec<Arc<str>>,
}

impl HubState {
    /// Returns how many slots there are in which state, over all pools and size classes.
    pub fn slot_status(&self) -> SlotStatus {
        let sum = |count: fn(&SlotPool) -> u64| {
            let counts = self.pools.iter().map(count);
            counts.fold(0, u64::saturating_add)
        };
        SlotStatus {
            total: sum(|pool| pool.total),
            free: sum(|pool| pool.free),
            allocated: sum(|pool| pool.allocated),
            in_flight: sum(|pool| pool.in_flight),
            unread: sum(|pool| pool.unread),
        }
    }
}

/// How many slots are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotStatus {
    /// Slots that there are.
    pub total: u64,
    /// Slots that are free.
    pub free: u64,
    /// Slots that are allocated and that no unread message names.
    pub allocated: u64,
    /// Slots that an unread message names.
    pub in_flight: u64,
    /// Slots that were not read.
    pub unread: u64,
}

impl SlotPool {
    /// Returns how many slots are in which state.
    pub fn slot_status(&self) -> SlotStatus {
        SlotStatus {
            total: self.total,
            free: self.free,
            allocated: self.allocated,
            in_flight: self.in_flight,
            unread: self.unread,
        }
    }
}

/// The slots that messages take in one pool or size class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlotPool {
    /// Whose messages take them.
    pub owner: PoolOwner,
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Slots that there are.
    pub total: u64,
    /// Slots that are free.
    pub free: u64,
    /// Slots that are allocated and that no unread message names.
    pub allocated: u64,
    /// Slots that an unread message names.
    pub in_flight: u64,
    /// Slots that were not read; they are in no other count.
    #[serde(skip_serializing_if = "is_zero")]
    pub unread: u64,
    /// Of a size class: slots that can be had from its free lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed_free: Option<u64>,
    /// Of a size class: who has the slots that are not free.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<SlotOwner>,
    /// With `--slots`, the state of every slot: `F` free, `A` allocated, `I` in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<String>,
    /// With `--slots`, of a size class: the last digit of the peer that has each slot, 0 for the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_digits: Option<String>,
    /// Slots that are allocated and that no unread message names, with their generations: a leak, if they stay so. The
    /// first ones.
    #[serde(skip)]
    pub idle_slots: Vec<(u32, u32)>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Whose messages take the slots of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "pool", rename_all = "snake_case")]
pub enum PoolOwner {
    /// Messages of the host to any peer.
    Host,
    /// Messages of one peer.
    Peer {
        /// Its number.
        peer: u8,
    },
    /// Messages of everybody that fit into this size class.
    Class {
        /// Its index.
        class: u32,
    },
}

impl fmt::Display for PoolOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Peer { peer } => write!(f, "peer {peer}"),
            Self::Class { class } => write!(f, "class {class}"),
        }
    }
}

/// Slots of a size class that one peer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlotOwner {
    /// The peer, 0 for the host.
    pub peer: u32,
    /// How many.
    pub slots: u64,
}

/// A peer of a hub.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HubPeer {
    /// Its number, from 1.
    pub peer: u8,
    /// Its state.
    pub state: PeerState,
    /// How often its place was taken.
    pub epoch: u32,
    /// Microseconds since its last heartbeat, if it sends any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_age_us: Option<u64>,
    /// The process, if its arguments name the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Whether that runs; dead also if its process is gone and its end of a doorbell is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_state: Option<ProcessState>,
    /// Messages from the peer to the host.
    pub to_host: HubRing,
    /// Messages from the host to the peer.
    pub to_peer: HubRing,
    /// The doorbell between the two, if its sockets were found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doorbell: Option<Doorbell>,
    /// Whether the peer's entry changed each time that it was read: what is said of its rings may not belong together.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_torn: bool,
}

/// The state of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Nobody has its place.
    Empty,
    /// It takes part.
    Attached,
    /// It leaves.
    Goodbye,
    /// Its place is kept for a process that has not attached yet.
    Reserved,
    /// A state that this version does not know.
    Unknown,
}

impl PeerState {
    /// Returns the name of the state in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Attached => "attached",
            Self::Goodbye => "goodbye",
            Self::Reserved => "reserved",
            Self::Unknown => "unknown",
        }
    }
}

/// One direction between a peer and its host.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HubRing {
    /// Messages written so far, modulo 2^32.
    pub head: u32,
    /// Messages read so far, modulo 2^32.
    pub tail: u32,
    /// Messages that are written and not read.
    pub len: u32,
    /// Messages that it has room for. One place always stays empty.
    pub capacity: u32,
    /// The unread messages, the oldest first.
    pub unread: Vec<HubMessage>,
    /// The last messages that were read, the oldest first, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HubMessage>,
    /// Whether the head is behind the tail, or further ahead than there is room.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_invalid: bool,
}

/// A message in a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HubMessage {
    /// Its number in its direction, modulo 2^32.
    pub position: u32,
    /// What it is.
    pub kind: MessageKind,
    /// Id of its request or channel on the wire, modulo 2^32.
    pub id: u32,
    /// Of a request, the method id on the wire.
    #[serde(serialize_with = "optional_id")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Id>"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_id: Option<u64>,
    /// Of a request or its response, `Service.method`, if a registry of the dump knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Arc<str>>,
    /// Microseconds since its request started, if a registry of the dump has that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_us: Option<u64>,
    /// Bytes of its payload.
    pub payload_bytes: u32,
    /// The slot that its payload is in; `None` if it is in the message itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<MessageSlot>,
}

/// The slot of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageSlot {
    /// Index of the slot, as the message has it.
    pub slot: u32,
    /// Its generation, as the message has it.
    pub generation: u32,
    /// Whether the slot does not exist, is free, or has another generation by now. Of a message that was read it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_stale: bool,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// A call.
    Request,
    /// Its answer.
    Response,
    /// The caller no longer waits.
    Cancel,
    /// An item of a channel.
    Data,
    /// The end of a channel.
    Close,
    /// A channel is given up.
    Reset,
    /// The end of a connection.
    Goodbye,
    /// A virtual connection is wanted.
    Connect,
    /// It is accepted.
    Accept,
    /// It is rejected.
    Reject,
    /// A kind that this version does not know.
    Unknown(u8),
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Cancel => "cancel",
            Self::Data => "data",
            Self::Close => "close",
            Self::Reset => "reset",
            Self::Goodbye => "goodbye",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Unknown(code) => return write!(f, "unknown kind {code}"),
        })
    }
}

/// The two sockets by which a peer and its host wake each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Doorbell {
    /// Whether a signal of the peer waits for the host; `None` if the host's end is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_is_signalled: Option<bool>,
    /// Whether a signal of the host waits for the peer.
    pub peer_is_signalled: bool,
    /// The process that holds the host's end, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<u32>,
    /// The thread of the host that waits for signals, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_waits_in: Option<WaitingThread>,
    /// The thread of the peer that waits for signals, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_waits_in: Option<WaitingThread>,
}

/// A thread that waits for a doorbell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WaitingThread {
    /// Its id.
    pub tid: u32,
    /// Its name.
    pub name: Arc<str>,
}

/// What was found about a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HubFinding {
    /// What was found.
    #[serde(flatten)]
    pub kind: HubFindingKind,
    /// How bad it is.
    pub severity: Severity,
    /// The same as a sentence.
    pub text: Arc<str>,
}

/// Which way messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HubDirection {
    /// From the peer to the host.
    ToHost,
    /// From the host to the peer.
    ToPeer,
}

/// What was found about a hub, in two readings that agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum HubFindingKind {
    /// Messages lie in a ring, no signal waits in the doorbell, and their reader waits for one.
    MissedWakeUp {
        /// The peer.
        peer: u8,
        /// The way of the messages.
        direction: HubDirection,
        /// How many.
        messages: u32,
    },
    /// Messages lie in a ring and a signal waits in the doorbell: their reader does not run.
    NotDrained {
        /// The peer.
        peer: u8,
        /// The way of the messages.
        direction: HubDirection,
        /// How many.
        messages: u32,
    },
    /// Messages lie in a ring and are not read, and no thread is seen to wait for them.
    NotRead {
        /// The peer.
        peer: u8,
        /// The way of the messages.
        direction: HubDirection,
        /// How many.
        messages: u32,
    },
    /// A peer is attached, and its process is dead.
    PeerDead {
        /// The peer.
        peer: u8,
        /// Slots of the host in messages to it, which nobody frees.
        host_slots: u64,
        /// Slots of its own that are not free.
        peer_slots: u64,
    },
    /// Slots are allocated, and no message names them.
    SlotsLeaked {
        /// The pool.
        #[serde(flatten)]
        pool: PoolOwner,
        /// How many.
        slots: u64,
    },
    /// A pool or size class has few slots left, or none.
    PoolNearFull {
        /// The pool.
        #[serde(flatten)]
        pool: PoolOwner,
        /// Slots that are not free.
        used: u64,
        /// Slots that there are.
        total: u64,
    },
    /// A ring has little room left, or none.
    RingNearFull {
        /// The peer.
        peer: u8,
        /// The way of the messages.
        direction: HubDirection,
        /// Unread messages.
        used: u32,
        /// Unread messages that there is room for.
        capacity: u32,
    },
    /// A direction carried more than 2^32 messages: its writer takes the ring for full for ever.
    CounterOverflow {
        /// The peer.
        peer: u8,
        /// The direction.
        direction: HubDirection,
    },
    /// A peer's heartbeat is older than two intervals.
    HeartbeatStale {
        /// The peer.
        peer: u8,
        /// Microseconds since its last heartbeat.
        age_us: u64,
    },
    /// The host has said goodbye: guests send nothing more.
    HostGoodbye,
}
