//! What is wrong with a hub, by two readings: a race with live traffic is seen in one of them only.

use std::cmp::Reverse;
use std::collections::HashSet;

use foldhash::HashMap;
use roam_trace_common::event::Direction as RequestDirection;

use crate::model::{
    Code, Hub, HubDirection, HubFindingKind, HubPeer, HubRing, HubRole, HubState, MessageKind,
    PeerState, PoolOwner, ProcessState, Request, Severity, SlotPool, Snapshot,
};

/// Percent in use from which on a pool or a ring is nearly full, and from which on it is about to hold up messages.
const NEAR_FULL: [u64; 2] = [80, 95];
/// Heartbeat intervals after which a heartbeat is stale.
const STALE_INTERVALS: u64 = 2;

/// Returns what both readings of a hub show, the worst first. Between them, a reader that runs must have had the time to
/// read what was in its ring.
pub fn hub_findings(before: &HubState, after: &HubState) -> Vec<(HubFindingKind, Severity)> {
    let mut findings = Vec::new();
    if before.host_goodbye && after.host_goodbye {
        findings.push((HubFindingKind::HostGoodbye, Severity::Warning));
    }
    for peer in &after.peers {
        let same = before.peers.iter().find(|other| other.peer == peer.peer);
        let Some(same) = same.filter(|other| is_same(other, peer)) else {
            continue;
        };
        if peer.process_state == Some(ProcessState::Dead) {
            findings.push(peer_dead(after, peer));
            continue;
        }
        findings.extend(stale_heartbeat(after, same, peer));
        for direction in [HubDirection::ToHost, HubDirection::ToPeer] {
            findings.extend(ring(direction, same, peer));
        }
    }
    let is_whole = |state: &HubState| state.gaps.is_empty();
    let are_whole = is_whole(before) && is_whole(after);
    for pool in &after.pools {
        let same = before.pools.iter().find(|other| other.owner == pool.owner);
        let Some(same) = same else { continue };
        if are_whole {
            findings.extend(leaked(same, pool));
        }
        let percent = |pool: &SlotPool| percent(used(pool), pool.total - pool.unread);
        if let Some(severity) = near_full(percent(same).min(percent(pool))) {
            let kind = HubFindingKind::PoolNearFull {
                pool: pool.owner,
                used: used(pool),
                total: pool.total - pool.unread,
            };
            findings.push((kind, severity));
        }
    }
    findings.sort_by_key(|&(_, severity)| Reverse(severity));
    findings
}

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

type Key = (u32, u32, Option<u64>);

/// The requests that stay in rings.
#[derive(Debug, Default)]
pub(super) struct StalledRequests {
    /// By process, id modulo 2^32, and method id, which a response does not have; `None` if several have these.
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
            let is_clean = |peer: &HubPeer| {
                let rings = [&peer.to_host, &peer.to_peer];
                !peer.is_torn && rings.iter().all(|ring| !ring.is_invalid)
            };
            let is_whole =
                |state: &HubState| state.gaps.is_empty() && state.peers.iter().all(is_clean);
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
                && request.direction == RequestDirection::Outgoing
                && !request.writes_observable;
            if request.direction == RequestDirection::Incoming && stalled.users.contains_key(&pid) {
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

/// Whether two readings show one peer, and what was read of it belongs together.
fn is_same(before: &HubPeer, after: &HubPeer) -> bool {
    let is_clean = |peer: &HubPeer| peer.state == PeerState::Attached && !peer.is_torn;
    is_clean(before) && is_clean(after) && before.epoch == after.epoch
}

fn peer_dead(state: &HubState, peer: &HubPeer) -> (HubFindingKind, Severity) {
    let named = peer
        .to_peer
        .unread
        .iter()
        .filter_map(|message| message.slot);
    let own = PoolOwner::Peer { peer: peer.peer };
    let own = state.pools.iter().find(|pool| pool.owner == own);
    let of_class = |pool: &SlotPool| {
        let owners = pool.owners.iter();
        let owner = owners.filter(|owner| owner.peer == u32::from(peer.peer));
        owner.map(|owner| owner.slots).sum::<u64>()
    };
    let kind = HubFindingKind::PeerDead {
        peer: peer.peer,
        host_slots: named.filter(|slot| !slot.is_stale).count() as u64,
        peer_slots: own.map_or_else(|| state.pools.iter().map(of_class).sum(), used),
    };
    (kind, Severity::Critical)
}

fn stale_heartbeat(
    state: &HubState,
    before: &HubPeer,
    after: &HubPeer,
) -> Option<(HubFindingKind, Severity)> {
    let limit_us = state.heartbeat_interval_us?.saturating_mul(STALE_INTERVALS);
    let age_us = after.heartbeat_age_us?;
    let is_stale = before.heartbeat_age_us? > limit_us && age_us > limit_us;
    let kind = HubFindingKind::HeartbeatStale {
        peer: after.peer,
        age_us,
    };
    is_stale.then_some((kind, Severity::Warning))
}

/// What is wrong with one direction of a peer.
fn ring(
    direction: HubDirection,
    before: &HubPeer,
    after: &HubPeer,
) -> Vec<(HubFindingKind, Severity)> {
    let of = |peer: &HubPeer| match direction {
        HubDirection::ToHost => Direction {
            ring: Counts::of(&peer.to_host),
            is_signalled: peer.doorbell.as_ref().and_then(|it| it.host_is_signalled),
            is_waited_for: peer
                .doorbell
                .as_ref()
                .is_some_and(|it| it.host_waits_in.is_some()),
        },
        HubDirection::ToPeer => Direction {
            ring: Counts::of(&peer.to_peer),
            is_signalled: peer.doorbell.as_ref().map(|it| it.peer_is_signalled),
            is_waited_for: peer
                .doorbell
                .as_ref()
                .is_some_and(|it| it.peer_waits_in.is_some()),
        },
    };
    let peer = after.peer;
    let (before, after) = (of(before), of(after));
    let mut findings = Vec::new();
    if before.ring.has_overflown() && before.ring == after.ring {
        let kind = HubFindingKind::CounterOverflow { peer, direction };
        return vec![(kind, Severity::Critical)];
    }
    if before.ring.is_invalid || after.ring.is_invalid {
        return findings;
    }
    // Nothing was read between the two, although there was something.
    if before.ring.len > 0 && before.ring.tail == after.ring.tail {
        let messages = after.ring.len;
        let is_waited_for = before.is_waited_for && after.is_waited_for;
        findings.push(match (before.is_signalled, after.is_signalled) {
            (Some(false), Some(false)) if is_waited_for => {
                let kind = HubFindingKind::MissedWakeUp {
                    peer,
                    direction,
                    messages,
                };
                (kind, Severity::Critical)
            }
            (_, Some(true)) => {
                let kind = HubFindingKind::NotDrained {
                    peer,
                    direction,
                    messages,
                };
                (kind, Severity::Critical)
            }
            _ => {
                let kind = HubFindingKind::NotRead {
                    peer,
                    direction,
                    messages,
                };
                (kind, Severity::Warning)
            }
        });
    }
    // One place always stays empty.
    let capacity = after.ring.capacity.saturating_sub(1);
    let percent = |ring: &Counts| percent(ring.len.into(), capacity.into());
    if let Some(severity) = near_full(percent(&before.ring).min(percent(&after.ring))) {
        let kind = HubFindingKind::RingNearFull {
            peer,
            direction,
            used: after.ring.len,
            capacity,
        };
        findings.push((kind, severity));
    }
    findings
}

/// One direction of a peer, and the doorbell of its reader.
struct Direction {
    ring: Counts,
    is_signalled: Option<bool>,
    is_waited_for: bool,
}

/// What a ring counts.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counts {
    head: u32,
    tail: u32,
    len: u32,
    capacity: u32,
    is_invalid: bool,
}

impl Counts {
    fn of(ring: &HubRing) -> Self {
        Self {
            head: ring.head,
            tail: ring.tail,
            len: ring.len,
            capacity: ring.capacity,
            is_invalid: ring.is_invalid,
        }
    }

    /// The head has passed 2^32 and the tail has not: the reader takes the ring for empty.
    fn has_overflown(&self) -> bool {
        !self.is_invalid && self.head < self.tail
    }
}

/// Slots that were allocated all the time with one generation, and that no message named at either reading.
fn leaked(before: &SlotPool, after: &SlotPool) -> Option<(HubFindingKind, Severity)> {
    let idle: HashSet<_> = before.idle_slots.iter().collect();
    let slots = after.idle_slots.iter().filter(|slot| idle.contains(slot));
    let slots = slots.count() as u64;
    let kind = HubFindingKind::SlotsLeaked {
        pool: after.owner,
        slots,
    };
    (slots > 0).then_some((kind, Severity::Warning))
}

fn used(pool: &SlotPool) -> u64 {
    pool.allocated + pool.in_flight
}

fn percent(used: u64, total: u64) -> u64 {
    used.saturating_mul(100).checked_div(total).unwrap_or(0)
}

fn near_full(percent: u64) -> Option<Severity> {
    match NEAR_FULL.map(|limit| percent >= limit) {
        [_, true] => Some(Severity::Critical),
        [true, _] => Some(Severity::Warning),
        [false, false] => None,
    }
}
