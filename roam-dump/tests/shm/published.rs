//! Hubs of the published crate, compared with what the crate says of them itself.

use roam_dump::model::{HubRing, MessageKind, PeerState, PoolOwner};
use roam_dump::shm::HubDetail;
use roam_shm::diagnostic::RingStats;
use roam_shm::layout::SizeClass;
use roam_shm::{FileCleanup, SegmentConfig, VarSlotPool};

use crate::{Hub, read, read_with, request, small};

fn check_ring(found: &HubRing, expected: &RingStats) {
    let expected = (
        expected.head,
        expected.tail,
        expected.used,
        expected.capacity,
    );
    assert_eq!(
        (found.head, found.tail, found.len, found.capacity),
        expected
    );
    assert_eq!(found.unread.len(), found.len as usize);
}

/// Compares all figures that the crate has too.
fn check(hub: &Hub) {
    let found = hub.read();
    let expected = hub.host.diagnostics();
    assert_eq!(found.total_bytes, expected.total_size);
    assert_eq!(found.max_peers, expected.max_peers);
    assert_eq!(found.host_goodbye, expected.host_goodbye);
    assert!(found.gaps.is_empty(), "{:?}", found.gaps);
    match expected.var_pool {
        None => {
            let pool = &found.pools[0];
            assert_eq!(pool.owner, PoolOwner::Host);
            assert_eq!(pool.total, u64::from(expected.host_slots.total_slots));
            assert_eq!(pool.free, u64::from(expected.host_slots.free_slots));
        }
        Some(expected) => {
            assert_eq!(found.pools.len(), expected.classes.len());
            for (found, expected) in found.pools.iter().zip(expected.classes) {
                assert_eq!(found.slot_bytes, expected.slot_size);
                assert_eq!(found.total, u64::from(expected.total_slots));
                assert_eq!(found.listed_free, Some(expected.free_slots_approx.into()));
                assert_eq!(found.free, u64::from(expected.free_slots_approx));
            }
        }
    }
    for expected in &expected.peer_slots {
        let found = found
            .peers
            .iter()
            .find(|found| found.peer == expected.peer_id.get());
        if expected.state == roam_shm::PeerState::Empty {
            assert!(found.is_none());
            continue;
        }
        let found = found.unwrap();
        assert_eq!(found.epoch, expected.epoch);
        check_ring(&found.to_host, &expected.guest_to_host_ring);
        check_ring(&found.to_peer, &expected.host_to_guest_ring);
    }
}

#[test]
fn a_quiet_hub_is_as_the_crate_says() {
    let mut hub = Hub::new(small());
    check(&hub);
    let mut first = hub.attach();
    let mut second = hub.attach();
    check(&hub);
    for id in 0..20 {
        first.send(request(id, 40)).unwrap();
        second.send(request(id, 5)).unwrap();
        hub.host.send(first.peer_id(), request(id, 50)).unwrap();
        check(&hub);
        hub.host.poll();
        check(&hub);
        first.recv().unwrap();
    }
    for id in 0..4 {
        second.send(request(100 + id, 40)).unwrap();
        hub.host
            .send(second.peer_id(), request(200 + id, 40))
            .unwrap();
    }
    check(&hub);
    let state = hub.read();
    let of = |owner| state.pools.iter().find(|pool| pool.owner == owner).unwrap();
    assert_eq!(of(PoolOwner::Host).in_flight, 4);
    assert_eq!(of(PoolOwner::Peer { peer: 2 }).in_flight, 4);
    assert_eq!(of(PoolOwner::Peer { peer: 1 }).free, 4);
    let message = &state.peers[1].to_host.unread[0];
    assert_eq!((message.kind, message.id), (MessageKind::Request, 100));
    assert_eq!(message.method_id, Some(0x1234_5678_9abc_def0));
    assert_eq!(message.payload_bytes, 40);
    assert!(!message.slot.unwrap().is_stale);
    first.detach();
    check(&hub);
    hub.host.goodbye("over");
    check(&hub);
}

#[test]
fn what_was_read_stays_until_it_is_overwritten() {
    let mut hub = Hub::new(small());
    let mut guest = hub.attach();
    for id in 0..13 {
        guest.send(request(id, 5)).unwrap();
        hub.host.poll();
    }
    guest.send(request(13, 5)).unwrap();
    let detail = HubDetail {
        history: 3,
        ..HubDetail::default()
    };
    let ring = &read_with(&hub.file(), detail).unwrap().peers[0].to_host;
    let ids = |messages: &[roam_dump::model::HubMessage]| {
        let ids = messages
            .iter()
            .map(|message| (message.position, message.id));
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&ring.history), [(10, 10), (11, 11), (12, 12)]);
    assert_eq!(ids(&ring.unread), [(13, 13)]);
    let detail = HubDetail {
        history: u32::MAX,
        ..detail
    };
    let ring = &read_with(&hub.file(), detail).unwrap().peers[0].to_host;
    assert_eq!(ids(&ring.history).first(), Some(&(6, 6)));
    assert!(hub.read().peers[0].to_host.history.is_empty());
}

#[test]
fn a_hub_that_is_unlinked_is_read_by_its_descriptor() {
    let hub = Hub::new(SegmentConfig {
        file_cleanup: FileCleanup::Manual,
        ..small()
    });
    let file = hub.file();
    std::fs::remove_file(hub.directory.path().join("hub")).unwrap();
    assert!(read(&file).is_ok());
}

#[test]
fn size_classes_before_and_after_growth() {
    let classes = vec![
        SizeClass::new(64, 16),
        SizeClass::new(256, 5),
        SizeClass::new(1024, 3),
    ];
    let mut hub = Hub::new(SegmentConfig {
        var_slot_classes: Some(classes.clone()),
        max_payload_size: 1024,
        ..small()
    });
    check(&hub);
    let pool = |hub: &Hub| {
        let offset = hub.host.layout().var_slot_pool_offset().unwrap();
        VarSlotPool::new(hub.host.region(), offset, classes.clone())
    };
    let allocated: Vec<_> = (0..5).map(|_| pool(&hub).alloc(200, 1).unwrap()).collect();
    pool(&hub).mark_in_flight(allocated[0]).unwrap();
    check(&hub);
    assert_eq!(hub.host.grow_size_class(1).unwrap(), 1);
    check(&hub);
    for owner in 0..3 {
        pool(&hub).alloc(200, owner).unwrap();
    }
    pool(&hub).free_allocated(allocated[3]).unwrap();
    assert_eq!(hub.host.grow_size_class(1).unwrap(), 2);
    assert_eq!(hub.host.grow_size_class(0).unwrap(), 1);
    check(&hub);
    let state = hub.read();
    let class = &state.pools[1];
    assert_eq!((class.total, class.free), (15, 8));
    assert_eq!((class.allocated, class.in_flight), (6, 1));
    let owners: Vec<_> = class
        .owners
        .iter()
        .map(|owner| (owner.peer, owner.slots))
        .collect();
    assert_eq!(owners, [(0, 1), (1, 5), (2, 1)]);
    assert!(state.current_bytes > state.total_bytes);
    assert_eq!(state.file_bytes, state.current_bytes);
}

#[test]
fn peers_have_states_and_heartbeats() {
    let hub = Hub::new(SegmentConfig {
        heartbeat_interval: 1_000_000,
        ..small()
    });
    let guest = hub.attach();
    assert_eq!(hub.read().peers[0].heartbeat_age_us, None);
    guest.heartbeat();
    let state = hub.read();
    assert_eq!(state.heartbeat_interval_us, Some(1_000));
    assert_eq!(state.peers[0].state, PeerState::Attached);
    assert!(state.peers[0].heartbeat_age_us.is_some());
    drop(guest);
    assert_eq!(hub.read().peers[0].state, PeerState::Goodbye);
}
