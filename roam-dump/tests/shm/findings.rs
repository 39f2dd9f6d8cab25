//! What two readings of a hub show.

use roam_dump::analysis::hub_findings;
use roam_dump::model::{
    Doorbell, HubDirection, HubFindingKind, HubState, PoolOwner, ProcessState, WaitingThread,
};
use roam_shm::SegmentConfig;

use crate::{Hub, request, small};

/// The findings of two readings.
fn kinds(before: &HubState, after: &HubState) -> Vec<HubFindingKind> {
    let findings = hub_findings(before, after).into_iter();
    findings.map(|(kind, _)| kind).collect()
}

/// A hub with a message to its guest, read while neither runs.
fn state() -> HubState {
    let mut hub = Hub::new(SegmentConfig {
        heartbeat_interval: 1_000,
        ..small()
    });
    let guest = hub.attach();
    hub.host.send(guest.peer_id(), request(7, 40)).unwrap();
    let state = hub.read();
    std::mem::forget(guest);
    state
}

fn doorbell(peer_is_signalled: bool, waits: bool) -> Option<Doorbell> {
    Some(Doorbell {
        host_is_signalled: Some(false),
        peer_is_signalled,
        host: None,
        host_waits_in: None,
        peer_waits_in: waits.then(|| WaitingThread {
            tid: 1,
            name: "worker".into(),
        }),
    })
}

#[test]
fn a_message_that_is_not_read() {
    let (peer, direction, messages) = (1, HubDirection::ToPeer, 1);
    let mut state = state();
    let not_read = HubFindingKind::NotRead {
        peer,
        direction,
        messages,
    };
    assert_eq!(kinds(&state, &state), std::slice::from_ref(&not_read));
    state.peers[0].doorbell = doorbell(false, false);
    assert_eq!(kinds(&state, &state), std::slice::from_ref(&not_read));
    let mut parked = state.clone();
    parked.peers[0].doorbell = doorbell(false, true);
    // It waits in one of them only.
    assert_eq!(kinds(&state, &parked), [not_read]);
    let missed = HubFindingKind::MissedWakeUp {
        peer,
        direction,
        messages,
    };
    assert_eq!(kinds(&parked, &parked), [missed]);
    state.peers[0].doorbell = doorbell(true, true);
    let not_drained = HubFindingKind::NotDrained {
        peer,
        direction,
        messages,
    };
    assert_eq!(kinds(&parked, &state), [not_drained]);
    state.peers[0].process_state = Some(ProcessState::Dead);
    // It died between the two.
    assert!(!matches!(
        kinds(&parked, &state)[..],
        [HubFindingKind::PeerDead { .. }]
    ));
    let dead = HubFindingKind::PeerDead {
        peer,
        host_slots: 1,
        peer_slots: 0,
    };
    assert_eq!(kinds(&state, &state), [dead]);
}

#[test]
fn what_moves_is_no_finding() {
    let before = state();
    let mut after = before.clone();
    after.peers[0].to_peer.tail = 1;
    after.peers[0].to_peer.head = 2;
    assert_eq!(kinds(&before, &after), []);
    let mut torn = before.clone();
    torn.peers[0].is_torn = true;
    assert_eq!(kinds(&before, &torn), []);
    let mut other = before.clone();
    other.peers[0].epoch += 1;
    assert_eq!(kinds(&before, &other), []);
}

#[test]
fn slots_that_no_message_names() {
    let mut before = state();
    before.peers[0].to_peer.len = 0;
    let mut after = before.clone();
    before.pools[0].idle_slots = vec![(0, 3), (1, 1), (2, 1)];
    after.pools[0].idle_slots = vec![(0, 3), (1, 2), (3, 1)];
    let leaked = HubFindingKind::SlotsLeaked {
        pool: PoolOwner::Host,
        slots: 1,
    };
    assert_eq!(kinds(&before, &after), [leaked]);
    // What lies in a ring that changed while it was read is not known.
    after.peers[0].is_torn = true;
    assert_eq!(kinds(&before, &after), []);
}

#[test]
fn what_runs_full() {
    let mut state = state();
    state.peers[0].to_peer.len = 0;
    (state.pools[1].free, state.pools[1].allocated) = (0, 4);
    state.peers[0].to_host.len = 6;
    state.peers[0].to_host.tail = 0;
    let mut before = state.clone();
    before.peers[0].to_host.tail = 1;
    let pool = HubFindingKind::PoolNearFull {
        pool: PoolOwner::Peer { peer: 1 },
        used: 4,
        total: 4,
    };
    let ring = HubFindingKind::RingNearFull {
        peer: 1,
        direction: HubDirection::ToHost,
        used: 6,
        capacity: 7,
    };
    assert_eq!(kinds(&before, &state), [pool, ring.clone()]);
    // Slots that were not read may be free.
    (state.pools[1].total, state.pools[1].unread) = (8, 4);
    assert_eq!(kinds(&before, &state), [ring]);
}

#[test]
fn counters_heartbeats_and_goodbyes() {
    let mut state = state();
    let ring = &mut state.peers[0].to_peer;
    (ring.head, ring.tail) = (0, u32::MAX);
    state.peers[0].heartbeat_age_us = Some(3);
    state.host_goodbye = true;
    let overflow = HubFindingKind::CounterOverflow {
        peer: 1,
        direction: HubDirection::ToPeer,
    };
    let stale = HubFindingKind::HeartbeatStale { peer: 1, age_us: 3 };
    let expected = [overflow, HubFindingKind::HostGoodbye, stale];
    assert_eq!(kinds(&state, &state), expected);
}
