//! What a tracer knows besides the snapshots: which processes are neighbours,
//! which of them live, and why some are not traced. Found by the tracer; nothing
//! in here looks at the system.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Process, ProcessState, Snapshot};

/// Everything besides the snapshots.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The traced processes and those at the other ends of their sockets.
    pub processes: Vec<ProcessFacts>,
    /// What they share.
    pub neighbours: Vec<Neighbour>,
    /// The counters of connections before the first snapshot was taken.
    pub before: Counters,
    /// The counters of connections after the last snapshot was taken, and at later moments.
    pub after: Vec<Counters>,
}

/// What is known of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessFacts {
    /// The process.
    pub process: Process,
    /// Whether it can do anything.
    pub state: ProcessState,
    /// How many threads are in which state, by the letter that `/proc/PID/task/TID/stat` has.
    pub threads: BTreeMap<char, u32>,
    /// Whether its sockets and shared memory are known: two processes of which that is known, and which
    /// share nothing, are no neighbours.
    pub are_ties_known: bool,
    /// Why there is no snapshot of it, where there is none.
    pub untraced: Option<String>,
}

/// Two processes that a connection may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The process that was asked about.
    pub pid: u32,
    /// What is at the other end.
    pub peer: Peer,
    /// What they share.
    pub via: Via,
}

/// The other end of a socket or of shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine.
    Process {
        /// Its pid.
        pid: u32,
        /// Another process that keeps the end open after that one died.
        held_by: Option<u32>,
    },
    /// Something that cannot be looked at, in words: another machine, another network namespace.
    Unseen(String),
}

/// What two processes may be connected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// A unix socket.
    Unix,
    /// A TCP connection.
    Tcp,
    /// A shared mapping of one file.
    SharedMemory,
}

impl Via {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix socket",
            Self::Tcp => "TCP",
            Self::SharedMemory => "shared memory",
        }
    }
}

/// Messages and payload bytes of connections, by pid and serial, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(pub HashMap<(u32, u64), Moved>);

impl Counters {
    /// Adds the counters of a snapshot.
    pub fn add(&mut self, snapshot: &Snapshot) {
        for connection in &snapshot.connections {
            if let Some(moved) = Moved::of(connection) {
                self.0
                    .insert((snapshot.process.pid, connection.serial), moved);
            }
        }
    }
}

/// What one end of a connection counted. In this order: messages sent, their bytes, messages received,
/// their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Moved(pub [u64; 4]);

impl Moved {
    pub(super) fn of(connection: &crate::model::Connection) -> Option<Self> {
        let (sent, received) = (connection.sent?, connection.received?);
        Some(Self([
            sent.messages,
            sent.payload_bytes,
            received.messages,
            received.payload_bytes,
        ]))
    }

    /// The same as the other end counts it.
    pub(super) fn at_other_end(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([c, d, a, b])
    }
}
