//! What the tracer knows besides the snapshots: which processes are neighbours,
//! which of them run, and why some are not traced. Types only: the tracer finds the facts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::ended::EndedCalls;
use crate::model::{Connection, Hub, Process, ProcessState, Snapshot, SocketUnknown};

/// What the tracer knows besides the snapshots.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The traced processes and those at the other ends of their sockets.
    pub processes: Vec<ProcessFacts>,
    /// What they share.
    pub neighbours: Vec<Neighbour>,
    /// The sockets that connections may use, by pid and serial of the root connection: what was found in the memory
    /// of their transports.
    pub transports: HashMap<(u32, u64), Vec<TransportSocket>>,
    /// Why a connection is not in `transports`, by pid and serial of the root connection.
    pub unknown_sockets: HashMap<(u32, u64), SocketUnknown>,
    /// Who is at the other end of a socket in `transports`, by its inode; several if it is not known which of them.
    pub socket_peers: HashMap<u64, Vec<Peer>>,
    /// Sockets in `transports` that had unread bytes at two moments between which the driver of the connection did
    /// not run: pid, serial and inode. What arrives at a driver that works is read before the second one.
    pub left_unread: HashSet<(u32, u64, u64)>,
    /// The rows that were still in flight after every snapshot was taken, by pid; empty if that was not checked.
    pub still_there: HashMap<u32, StillThere>,
    /// The counters of connections before the first snapshot was taken.
    pub before: CounterSample,
    /// The counters of connections after the last snapshot was taken, and at later moments.
    pub after: Vec<CounterSample>,
    /// The shared-memory hubs of the processes, with their findings.
    pub hubs: Vec<Hub>,
    /// How many calls had ended at two moments, if the tracer sampled that.
    pub ended: Option<EndedCalls>,
}

/// The serials of the rows of a process that were still in flight at a later moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StillThere {
    /// Of requests.
    pub requests: HashSet<u64>,
    /// Of channels.
    pub channels: HashSet<u64>,
}

/// The facts about one process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessFacts {
    /// The process.
    pub process: Process,
    /// Whether it runs.
    pub state: ProcessState,
    /// How many threads are in which state, by the letter that `/proc/PID/task/TID/stat` has.
    pub threads: BTreeMap<char, u32>,
    /// Whether its sockets and shared memory are known: two processes of which that is known, and which
    /// share nothing, are no neighbours.
    pub is_connectivity_known: bool,
    /// Open descriptors and how many it may have, if they could be counted.
    pub descriptors: Option<(u64, u64)>,
    /// Why there is no snapshot of it; `None` if there is one.
    pub untraced: Option<String>,
}

/// Two processes that a connection may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The traced process.
    pub pid: u32,
    /// What is at the other end.
    pub peer: Peer,
    /// What they share.
    pub via: Via,
}

/// A socket that the transport of a connection may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportSocket {
    /// Its descriptor in the process.
    pub descriptor: i32,
    /// Its inode.
    pub inode: u64,
    /// The inode of the socket at the other end, if that is on this machine and known.
    pub peer_inode: Option<u64>,
    /// Whether most transports of that size have a socket in the same place, each another one.
    pub is_in_place: bool,
    /// What it is.
    pub via: Via,
    /// Own address or path; `None` for an unnamed unix socket.
    pub local: Option<Arc<str>>,
    /// Address or path of the other end; `None` for an unnamed unix socket.
    pub remote: Option<Arc<str>>,
    /// Bytes that have arrived and that the process has not read.
    pub unread_bytes: u64,
    /// Bytes that the process has written and the other end has not received.
    pub unsent_bytes: u64,
    /// Bytes that it carried so far, sent and received, if the kernel counts them.
    pub carried_bytes: Option<(u64, u64)>,
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
    /// Something that cannot be read, as text: another machine, another network namespace.
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

/// The counters of connections, by pid and serial, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterSample(pub HashMap<(u32, u64), Counters>);

impl CounterSample {
    /// Adds the counters of a snapshot.
    pub fn add(&mut self, snapshot: &Snapshot) {
        for connection in &snapshot.connections {
            if let Some(counters) = Counters::of(connection) {
                self.0
                    .insert((snapshot.process.pid, connection.serial), counters);
            }
        }
    }
}

/// What one end of a connection counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Messages that it sent.
    pub messages_sent: u64,
    /// Their payload bytes.
    pub bytes_sent: u64,
    /// Messages that it received.
    pub messages_received: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
}

impl Counters {
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        let (sent, received) = (connection.sent?, connection.received?);
        Some(Self {
            messages_sent: sent.messages,
            bytes_sent: sent.payload_bytes,
            messages_received: received.messages,
            bytes_received: received.payload_bytes,
        })
    }

    /// The same as the other end counts it.
    pub(super) fn at_other_end(self) -> Self {
        Self {
            messages_sent: self.messages_received,
            bytes_sent: self.bytes_received,
            messages_received: self.messages_sent,
            bytes_received: self.bytes_sent,
        }
    }
}
