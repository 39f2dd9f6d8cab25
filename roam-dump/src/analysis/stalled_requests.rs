//! Which requests lie in the rings of hubs, and which never got there.

use std::collections::HashSet;

use foldhash::HashMap;
use roam_trace_common::event::Direction;

use super::hub::is_whole;
use crate::model::{
    Code, Hub, HubDirection, HubFindingKind, HubRole, MessageKind, PoolOwner, ProcessState,
    Request, Snapshot,
};

/// Why a message stays in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RingStall {
    /// What was found about the ring.
    pub(crate) cause: RingCause,
    /// The peer at one end of it.
    pub(crate) peer: u8,
    pub(crate) direction: HubDirection,
    /// Unread messages in it.
    pub(crate) messages: u32,
    /// The process that does not read it, if that is known.
    pub(crate) reader: Option<u32>,
    /// Whether the message is the response, and not the request.
    pub(crate) is_response: bool,
}

/// What was found about a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RingCause {
    MissedWakeUp,
    NotDrained,
    NotRead,
    ReaderStopped,
    ReaderDead,
}

impl RingCause {
    pub(crate) fn code(self) -> Code {
        match self {
            Self::MissedWakeUp => Code::MissedWakeUp,
            Self::NotDrained | Self::NotRead => Code::MessageNotRead,
            Self::ReaderStopped => Code::PeerStopped,
            Self::ReaderDead => Code::PeerDead,
        }
    }
}

/// A process, an id modulo 2^32, and the method id, which a response does not have.
type Key = (u32, u32, Option<u64>);

/// The requests that stay in rings.
#[derive(Debug, Default)]
pub(super) struct StalledRequests {
    /// `None` if several have a key.
    in_rings: HashMap<Key, Option<RingStall>>,
    /// The users of each process's hub, if that was read as a whole.
    users: HashMap<u32, HashSet<u32>>,
    /// The requests that users of hubs have received, by process, id modulo 2^32, and method id.
    received: HashSet<(u32, u32, u64)>,
    /// The processes that have no slot left.
    exhausted: HashSet<u32>,
}

impl StalledRequests {
    pub(super) fn new(hubs: &[Hub], snapshots: &[Snapshot]) -> Self {
        let mut stalled = Self::default();
        for hub in hubs {
            if hub.state().is_some_and(is_whole) {
                let pids = || hub.users.iter().map(|user| user.process.pid);
                for pid in pids() {
                    let others = pids().filter(|&other| other != pid);
                    stalled.users.entry(pid).or_default().extend(others);
                }
            }
            for finding in &hub.findings {
                stalled.add(hub, &finding.kind);
            }
        }
        // A process numbers the requests of every connection from 1: of two with one key, either may be in the ring.
        let mut known = HashSet::new();
        for (pid, request) in snapshots.iter().flat_map(|snapshot| {
            let pid = snapshot.process.pid;
            snapshot.requests.iter().map(move |request| (pid, request))
        }) {
            let is_candidate = !stalled.in_rings.is_empty()
                && request.direction == Direction::Outgoing
                && !request.writes_observable;
            if request.direction == Direction::Incoming && stalled.users.contains_key(&pid) {
                let id = request.request_id as u32;
                stalled.received.insert((pid, id, request.method_id));
            }
            for key in keys(pid, request) {
                if is_candidate && stalled.in_rings.contains_key(&key) && !known.insert(key) {
                    stalled.in_rings.insert(key, None);
                }
            }
        }
        stalled
    }

    /// Why a request of a process stays in a ring, if it does.
    pub(super) fn get(&self, pid: u32, request: &Request) -> Option<RingStall> {
        let mut found = keys(pid, request).into_iter();
        found.find_map(|key| self.in_rings.get(&key).copied().flatten())
    }

    /// The other users of the hubs of a process, if all messages in these are known.
    pub(super) fn users_beside(&self, pid: u32) -> Option<&HashSet<u32>> {
        self.users.get(&pid).filter(|users| !users.is_empty())
    }

    /// Whether a user of a hub has received a request.
    pub(super) fn is_received(&self, pid: u32, request: &Request) -> bool {
        let id = request.request_id as u32;
        self.received.contains(&(pid, id, request.method_id))
    }

    /// Whether a process has no slot left for its messages.
    pub(super) fn has_no_slot(&self, pid: u32) -> bool {
        self.exhausted.contains(&pid)
    }

    fn add(&mut self, hub: &Hub, finding: &HubFindingKind) {
        use HubDirection::{ToHost, ToPeer};
        let (peer, direction, cause) = match *finding {
            HubFindingKind::MissedWakeUp {
                peer, direction, ..
            } => (peer, direction, RingCause::MissedWakeUp),
            HubFindingKind::NotDrained {
                peer, direction, ..
            } => (peer, direction, RingCause::NotDrained),
            HubFindingKind::NotRead {
                peer, direction, ..
            } => (peer, direction, RingCause::NotRead),
            HubFindingKind::PeerDead { peer, .. } => (peer, ToPeer, RingCause::ReaderDead),
            HubFindingKind::PoolNearFull { pool, used, total } if used == total => {
                let owns = |role| match pool {
                    PoolOwner::Host => role == HubRole::Host,
                    PoolOwner::Peer { peer } => role == HubRole::Guest { peer },
                    PoolOwner::Class { .. } => false,
                };
                let owners = hub.users.iter().filter(|user| owns(user.role));
                self.exhausted.extend(owners.map(|user| user.process.pid));
                return;
            }
            _ => return,
        };
        let Some(found) = hub
            .state()
            .and_then(|state| state.peers.iter().find(|found| found.peer == peer))
        else {
            return;
        };
        let mut hosts = hub.users.iter().filter(|user| user.role == HubRole::Host);
        let host = hosts.next().map(|user| user.process.pid);
        let guest = found.process.as_ref().map(|process| process.pid);
        let is_stopped = found.process_state == Some(ProcessState::Stopped);
        let (ring, writer, reader) = match direction {
            ToHost => (&found.to_host, guest, host),
            ToPeer => (&found.to_peer, host, guest),
        };
        let stall = RingStall {
            cause: match (cause, direction) {
                (RingCause::NotDrained | RingCause::NotRead, ToPeer) if is_stopped => {
                    RingCause::ReaderStopped
                }
                (cause, _) => cause,
            },
            peer,
            direction,
            messages: ring.len,
            reader,
            is_response: false,
        };
        for message in &ring.unread {
            let is_response = message.kind == MessageKind::Response;
            let caller = match message.kind {
                MessageKind::Request => writer,
                MessageKind::Response => reader,
                _ => None,
            };
            let Some(caller) = caller else { continue };
            let stall = RingStall {
                is_response,
                ..stall
            };
            let stalls = self.in_rings.entry((caller, message.id, message.method_id));
            stalls
                .and_modify(|several| *several = None)
                .or_insert(Some(stall));
        }
    }
}

/// What a request of a process may be found by, and its response.
fn keys(pid: u32, request: &Request) -> [Key; 2] {
    let id = request.request_id as u32;
    [(pid, id, Some(request.method_id)), (pid, id, None)]
}
