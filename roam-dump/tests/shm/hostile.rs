//! Hubs that contradict themselves: reading them fails or leaves something out, in bounded time, and never panics.

use std::fs::File;
use std::mem::offset_of;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use registry_image::damage::EXTREMES;
use roam_dump::model::{HubState, PoolOwner};
use roam_dump::shm::layout::{ClassRecord, DescriptorRecord, HeaderRecord, PeerRecord, SlotRecord};
use roam_dump::shm::{HubBudget, HubDetail, HubError, read_hub};
use roam_shm::SegmentConfig;
use roam_shm::layout::SizeClass;

use crate::{Hub, NOW_NS, read, read_with, request, small};

/// Where the small hub has its peers.
const PEERS: usize = size_of::<HeaderRecord>();

/// The bytes of a small hub with messages in both directions.
fn image() -> Vec<u8> {
    let mut hub = Hub::new(small());
    let mut guest = hub.attach();
    for id in 0..3 {
        guest.send(request(id, 40)).unwrap();
        hub.host.send(guest.peer_id(), request(id, 40)).unwrap();
    }
    let bytes = hub.bytes();
    std::mem::forget(guest);
    bytes
}

/// The bytes of a hub with size classes.
fn class_image() -> Vec<u8> {
    let classes = vec![SizeClass::new(64, 16), SizeClass::new(256, 5)];
    let mut hub = Hub::new(SegmentConfig {
        var_slot_classes: Some(classes),
        ..small()
    });
    hub.host.grow_size_class(0).unwrap();
    hub.bytes()
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

fn changed(offset: usize, value: &[u8]) -> Result<HubState, HubError> {
    let mut bytes = image();
    put(&mut bytes, offset, value);
    read(&bytes[..])
}

#[track_caller]
fn check_error(offset: usize, value: &[u8], expected: &str) {
    let error = changed(offset, value).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[track_caller]
fn check_gap(state: &HubState, expected: &str) {
    let gaps = state.gaps.join("; ");
    assert!(gaps.contains(expected), "{gaps}");
}

#[test]
fn damaged_headers_are_rejected() {
    check_error(0, b"\x7fELF", "no hub of roam-shm");
    check_error(
        offset_of!(HeaderRecord, version),
        &2_u32.to_ne_bytes(),
        "version 2",
    );
    let max_guests = offset_of!(HeaderRecord, max_guests);
    check_error(max_guests, &0_u32.to_ne_bytes(), "room for no peer");
    check_error(max_guests, &256_u32.to_ne_bytes(), "too many");
    check_error(
        offset_of!(HeaderRecord, ring_size),
        &3_u32.to_ne_bytes(),
        "power of two",
    );
    let peers = offset_of!(HeaderRecord, peer_table_offset);
    check_error(peers, &u64::MAX.to_ne_bytes(), "outside");
    check_error(peers, &(1_u64 << 40).to_ne_bytes(), "truncated");
}

#[test]
fn every_truncation_is_an_error_or_a_gap() {
    let whole = image();
    for end in (0..whole.len()).step_by(8) {
        match read(&whole[..end]) {
            Err(HubError::NotAHub) => assert!(end < 8),
            Err(HubError::Truncated { .. }) => assert!(end < PEERS + 2 * size_of::<PeerRecord>()),
            Err(error) => panic!("{end}: {error}"),
            Ok(state) => check_gap(&state, "the file is truncated"),
        }
    }
}

#[test]
fn every_field_at_every_extreme() {
    for (image, fields) in [(image(), PEERS + 128), (class_image(), PEERS + 256)] {
        for offset in (0..fields).step_by(4) {
            for value in EXTREMES {
                let mut bytes = image.clone();
                put(&mut bytes, offset, &(value as u32).to_ne_bytes());
                let began = Instant::now();
                let _ = read(&bytes[..]);
                assert!(began.elapsed() < Duration::from_secs(1), "{offset} {value}");
            }
        }
    }
}

#[test]
fn heads_that_are_not_ahead_of_their_tails_are_invalid() {
    let head = PEERS + offset_of!(PeerRecord, guest_to_host_head);
    for (head_value, is_invalid, len) in [(3, false, 3), (8, false, 8), (9, true, 9)] {
        let state = changed(head, &u32::to_ne_bytes(head_value)).unwrap();
        let ring = &state.peers[0].to_host;
        assert_eq!((ring.is_invalid, ring.len), (is_invalid, len));
        assert_eq!(ring.unread.is_empty(), is_invalid);
    }
    let tail = PEERS + offset_of!(PeerRecord, guest_to_host_tail);
    let state = changed(tail, &4_u32.to_ne_bytes()).unwrap();
    assert!(state.peers[0].to_host.is_invalid);
}

#[test]
fn a_message_that_names_no_slot_of_its_own_is_stale() {
    let bytes = image();
    let ring = PEERS + offset_of!(PeerRecord, ring_offset);
    let ring = u64::from_ne_bytes(bytes[ring..ring + 8].try_into().unwrap()) as usize;
    let slot = ring + offset_of!(DescriptorRecord, payload_slot);
    let generation = ring + offset_of!(DescriptorRecord, payload_generation);
    for (offset, value) in [(slot, 4), (slot, u32::MAX - 1), (slot, 3), (generation, 9)] {
        let state = changed(offset, &u32::to_ne_bytes(value)).unwrap();
        let message = &state.peers[0].to_host.unread[0];
        assert!(message.slot.unwrap().is_stale, "{value}");
        let pool = &state.pools[1];
        assert_eq!(pool.owner, PoolOwner::Peer { peer: 1 });
        assert_eq!((pool.in_flight, pool.allocated), (2, 1));
        assert_eq!(pool.idle_slots, [(0, 1)]);
    }
}

#[test]
fn lists_of_free_slots_that_do_not_end_are_reported() {
    let bytes = class_image();
    let base = offset_of!(HeaderRecord, var_slot_pool_offset);
    let base = u64::from_ne_bytes(bytes[base..base + 8].try_into().unwrap()) as usize;
    let records = base + 2 * size_of::<ClassRecord>();
    let next =
        |slot: usize| records + slot * size_of::<SlotRecord>() + offset_of!(SlotRecord, next_free);
    for value in [0, 2, 16, 1 << 20] {
        let mut bytes = bytes.clone();
        put(&mut bytes, next(7), &u32::to_ne_bytes(value));
        let state = read(&bytes[..]).unwrap();
        check_gap(
            &state,
            "extent 0 of class 0 has a list of free slots that is invalid",
        );
        assert_eq!(state.pools[0].free, 32);
    }
    let extents = base + offset_of!(ClassRecord, extent_offsets);
    for offset in [0_u64, 8, u64::MAX, u64::MAX - 63] {
        let mut bytes = bytes.clone();
        put(&mut bytes, extents, &offset.to_ne_bytes());
        let state = read(&bytes[..]).unwrap();
        check_gap(&state, "extent 1 of class 0 has an invalid header");
        assert_eq!((state.pools[0].total, state.pools[0].unread), (32, 16));
    }
}

/// A sparse file that claims far more than is read.
fn claim(bytes: &[u8], file_bytes: u64) -> (HubState, Duration) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file.as_file().set_len(file_bytes).unwrap();
    let file = File::open(file.path()).unwrap();
    let began = Instant::now();
    let detail = HubDetail {
        slots: true,
        history: u32::MAX,
    };
    let state = read_with(&file, detail).unwrap();
    (state, began.elapsed())
}

#[test]
fn more_than_is_read_is_counted() {
    let mut bytes = image();
    put(
        &mut bytes,
        offset_of!(HeaderRecord, slot_size),
        &8_u32.to_ne_bytes(),
    );
    put(
        &mut bytes,
        offset_of!(HeaderRecord, slots_per_guest),
        &(1_u32 << 20).to_ne_bytes(),
    );
    let (state, elapsed) = claim(&bytes, 1 << 30);
    let sum =
        |count: fn(&roam_dump::model::SlotPool) -> u64| state.pools.iter().map(count).sum::<u64>();
    assert_eq!(sum(|pool| pool.total), 3 << 20);
    assert_eq!(
        sum(|pool| pool.free + pool.allocated + pool.in_flight),
        1 << 18
    );
    assert_eq!(sum(|pool| pool.unread), (3 << 20) - (1 << 18));
    check_gap(&state, "more slots than roam-trace reads");
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    let mut bytes = image();
    put(
        &mut bytes,
        offset_of!(HeaderRecord, ring_size),
        &(1_u32 << 30).to_ne_bytes(),
    );
    let head = PEERS + offset_of!(PeerRecord, host_to_guest_head);
    put(&mut bytes, head, &(1_u32 << 29).to_ne_bytes());
    let (state, elapsed) = claim(&bytes, 1 << 40);
    check_gap(&state, "more messages than roam-trace reads");
    assert!(state.peers[0].to_peer.unread.len() <= 1 << 16);
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
}

#[test]
fn what_earlier_hubs_left_nothing_for_is_counted() {
    let bytes = image();
    for (messages, is_cut) in [(0, true), (5, true), (6, false)] {
        let mut budget = HubBudget {
            messages,
            ..HubBudget::default()
        };
        let state = read_hub(&bytes[..], HubDetail::default(), &mut budget, NOW_NS).unwrap();
        let gaps: Vec<&str> = state.gaps.iter().map(|gap| &**gap).collect();
        let expected = ["more messages than roam-trace reads"];
        assert_eq!(gaps, expected[..usize::from(is_cut)], "{messages}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(
        has_classes: bool,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..64),
        end: prop::sample::Index,
    ) {
        let mut bytes = if has_classes { class_image() } else { image() };
        let fields = 1_024.min(bytes.len());
        for (index, value) in edits {
            bytes[index.index(fields)] = value;
        }
        // Most of the images are whole.
        let end = if end.index(4) == 0 { end.index(bytes.len()) } else { bytes.len() };
        let detail = HubDetail { slots: true, history: 9 };
        if let Ok(state) = read_with(&bytes[..end], detail) {
            for pool in state.pools {
                assert_eq!(pool.free + pool.allocated + pool.in_flight + pool.unread, pool.total);
            }
        }
    }
}
