//! What is wrong with a hub, by two readings: a race with live traffic is seen in one of them only.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::model::{
    HubDirection, HubFindingKind, HubPeer, HubRing, HubState, PeerState, PoolOwner, ProcessState,
    Severity, SlotPool,
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
        if [same, peer].map(|it| it.process_state) == [Some(ProcessState::Dead); 2] {
            findings.push(peer_dead(after, peer));
            continue;
        }
        findings.extend(stale_heartbeat(after, same, peer));
        for direction in [HubDirection::ToHost, HubDirection::ToPeer] {
            findings.extend(ring(direction, same, peer));
        }
    }
    let are_whole = is_whole(before) && is_whole(after);
    for pool in &after.pools {
        let same = before.pools.iter().find(|other| other.owner == pool.owner);
        let Some(same) = same else { continue };
        if are_whole {
            findings.extend(leaked(same, pool));
        }
        // Slots that were not read may be free.
        let percent = |pool: &SlotPool| percent(used(pool), pool.total);
        if let Some(severity) = near_full(percent(same).min(percent(pool))) {
            let kind = HubFindingKind::PoolNearFull {
                pool: pool.owner,
                used: used(pool),
                total: pool.total,
            };
            findings.push((kind, severity));
        }
    }
    findings.sort_by_key(|&(_, severity)| Reverse(severity));
    findings
}

/// Whether all messages of a hub are known.
pub(super) fn is_whole(state: &HubState) -> bool {
    let is_clean = |peer: &HubPeer| {
        let rings = [&peer.to_host, &peer.to_peer];
        !peer.is_torn && rings.iter().all(|ring| !ring.is_invalid)
    };
    state.gaps.is_empty() && state.peers.iter().all(is_clean)
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
