//! Reads a hub: its header, its peers, their rings, then the slots.

use std::io;
use std::sync::Arc;

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::budget::HubBudget;
use super::error::HubError;
use super::layout::{HeaderRecord, MAGIC, MAX_PEERS, PeerRecord, VERSION, class_slot, peer_state};
use super::pools::{Pool, read_classes, read_pools};
use super::rings::{Place, read_ring};
use crate::model::{HubMessage, HubPeer, HubRing, HubState, PeerState};
use crate::read::{RegionMemory, read_full};

/// How often a peer is read again that changes meanwhile.
const ATTEMPTS: u32 = 4;

/// What is read besides counts and unread messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct HubDetail {
    /// The state of every slot.
    pub slots: bool,
    /// So many of the last messages that were read, of each ring.
    pub history: u32,
}

/// Reads a hub, as far as the budget allows. `unix_ns` is the time on the clock of heartbeats.
///
/// A peer whose entry changes while its rings are read is read again, a few times. Slots are read after the rings: one
/// that a message took between the two counts as allocated. Therefore compare two readings before drawing conclusions.
///
/// # Errors
///
/// [`HubError`] if the file cannot be read, or is no hub of this version.
pub fn read_hub<M: RegionMemory + ?Sized>(
    memory: &M,
    detail: HubDetail,
    budget: &mut HubBudget,
    unix_ns: u64,
) -> Result<HubState, HubError> {
    let file_bytes = memory.bytes()?;
    let header = read_header(memory, file_bytes)?;
    let mut gaps: Vec<Arc<str>> = Vec::new();
    let claimed = header.total_size.max(header.current_size);
    if file_bytes < claimed {
        let text = format!("the file is truncated: it has {file_bytes} of {claimed} bytes");
        gaps.push(text.into());
    }
    let (mut peers, first_ring) = read_peers(
        memory, &header, file_bytes, detail, budget, unix_ns, &mut gaps,
    )?;
    if budget.messages == 0 && peers.iter().any(is_cut) {
        gaps.push("more messages than roam-trace reads".into());
    }
    let mut pools = match header.var_slot_pool_offset {
        0 => read_pools(memory, &header, file_bytes, budget, &mut gaps)?,
        _ => read_classes(memory, &header, (first_ring, file_bytes), budget, &mut gaps)?,
    };
    let has_classes = header.var_slot_pool_offset != 0;
    for peer in &mut peers {
        let own_pool = usize::from(peer.peer);
        name_slots(
            memory,
            &mut peer.to_host,
            &mut pools,
            has_classes,
            own_pool,
            budget,
        );
        name_slots(
            memory,
            &mut peer.to_peer,
            &mut pools,
            has_classes,
            0,
            budget,
        );
    }
    let pools: Vec<_> = pools
        .into_iter()
        .map(|pool| pool.finish(memory, detail.slots, budget))
        .collect();
    if pools.iter().any(|pool| pool.unread > 0) && budget.slots == 0 {
        gaps.push("more slots than roam-trace reads".into());
    }
    Ok(HubState {
        version: header.version,
        file_bytes,
        total_bytes: header.total_size,
        current_bytes: header.current_size,
        max_payload_bytes: header.max_payload_size,
        heartbeat_interval_us: Some(header.heartbeat_interval / 1_000).filter(|&us| us > 0),
        host_goodbye: header.host_goodbye != 0,
        max_peers: header.max_guests,
        pools,
        peers,
        gaps,
    })
}

fn read_header<M: RegionMemory + ?Sized>(
    memory: &M,
    file_bytes: u64,
) -> Result<HeaderRecord, HubError> {
    let mut header = HeaderRecord::new_zeroed();
    let got = read_full(memory, header.as_mut_bytes(), 0)?;
    if got < MAGIC.len() || header.magic != MAGIC {
        return Err(HubError::NotAHub);
    }
    if got < size_of::<HeaderRecord>() {
        let claimed = header.total_size.max(size_of::<HeaderRecord>() as u64);
        return Err(HubError::Truncated {
            bytes: got as u64,
            claimed,
        });
    }
    if header.version != VERSION || header.header_size as usize != size_of::<HeaderRecord>() {
        return Err(HubError::Version {
            found: header.version,
        });
    }
    if !(1..=MAX_PEERS).contains(&header.max_guests) {
        return Err(HubError::Damaged(
            "it has room for no peer, or for too many",
        ));
    }
    if !header.ring_size.is_power_of_two() || header.ring_size < 2 {
        return Err(HubError::Damaged(
            "the size of its rings is no power of two",
        ));
    }
    let peers = u64::from(header.max_guests) * size_of::<PeerRecord>() as u64;
    let end = header.peer_table_offset.checked_add(peers);
    let end = end.ok_or(HubError::Damaged("its peer table lies outside the file"))?;
    if end > file_bytes {
        return Err(HubError::Truncated {
            bytes: file_bytes,
            claimed: header.total_size.max(end),
        });
    }
    let offsets = [
        header.peer_table_offset,
        header.slot_region_offset,
        header.var_slot_pool_offset,
        header.slot_size.into(),
    ];
    if !offsets.iter().all(|offset| offset.is_multiple_of(8)) {
        return Err(HubError::Damaged("a part of it is not aligned"));
    }
    Ok(header)
}

/// The peers that are there, and where the rings of the first one start.
fn read_peers<M: RegionMemory + ?Sized>(
    memory: &M,
    header: &HeaderRecord,
    file_bytes: u64,
    detail: HubDetail,
    budget: &mut HubBudget,
    unix_ns: u64,
    gaps: &mut Vec<Arc<str>>,
) -> io::Result<(Vec<HubPeer>, u64)> {
    let mut peers = Vec::new();
    let mut first_ring = 0;
    let mut outside = 0;
    for index in 0..header.max_guests {
        let offset = header.peer_table_offset + u64::from(index) * size_of::<PeerRecord>() as u64;
        let mut record = read_peer(memory, offset)?;
        if index == 0 {
            first_ring = record.ring_offset;
        }
        if is_vacant(&record) {
            continue;
        }
        let mut left;
        let mut attempts = ATTEMPTS;
        let (rings, is_torn) = loop {
            left = *budget;
            attempts -= 1;
            let rings = read_rings(memory, header, &record, file_bytes, detail, &mut left)?;
            let again = read_peer(memory, offset)?;
            match is_same(&record, &again) {
                true => break (rings, false),
                false if attempts == 0 => break (rings, true),
                false => record = again,
            }
        };
        *budget = left;
        if is_vacant(&record) {
            continue;
        }
        outside += u32::from(!rings.is_inside);
        let heartbeat = record.last_heartbeat;
        peers.push(HubPeer {
            peer: index as u8 + 1,
            state: state(record.state),
            epoch: record.epoch,
            heartbeat_age_us: (heartbeat != 0).then(|| unix_ns.saturating_sub(heartbeat) / 1_000),
            process: None,
            process_state: None,
            to_host: rings.to_host,
            to_peer: rings.to_peer,
            doorbell: None,
            is_torn,
        });
    }
    if outside > 0 {
        gaps.push(format!("the rings of {outside} peers lie outside the file").into());
    }
    Ok((peers, first_ring))
}

fn read_peer<M: RegionMemory + ?Sized>(memory: &M, offset: u64) -> io::Result<PeerRecord> {
    let mut bytes = [0; size_of::<PeerRecord>()];
    read_full(memory, &mut bytes, offset)?;
    PeerRecord::read_from_bytes(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Whether unread messages of a peer were not read.
fn is_cut(peer: &HubPeer) -> bool {
    let mut rings = [&peer.to_host, &peer.to_peer].into_iter();
    rings.any(|ring| !ring.is_invalid && ring.unread.len() < ring.len as usize)
}

/// Nobody has the place, and nothing is left of who had it.
fn is_vacant(record: &PeerRecord) -> bool {
    record.state == peer_state::EMPTY
        && record.guest_to_host_head == record.guest_to_host_tail
        && record.host_to_guest_head == record.host_to_guest_tail
}

/// Whether nothing changed but the heartbeat.
fn is_same(before: &PeerRecord, after: &PeerRecord) -> bool {
    PeerRecord {
        last_heartbeat: after.last_heartbeat,
        ..*before
    } == *after
}

fn state(code: u32) -> PeerState {
    match code {
        peer_state::EMPTY => PeerState::Empty,
        peer_state::ATTACHED => PeerState::Attached,
        peer_state::GOODBYE => PeerState::Goodbye,
        peer_state::RESERVED => PeerState::Reserved,
        _ => PeerState::Unknown,
    }
}

struct Rings {
    to_host: HubRing,
    to_peer: HubRing,
    is_inside: bool,
}

fn read_rings<M: RegionMemory + ?Sized>(
    memory: &M,
    header: &HeaderRecord,
    record: &PeerRecord,
    file_bytes: u64,
    detail: HubDetail,
    budget: &mut HubBudget,
) -> io::Result<Rings> {
    let ring_bytes = u64::from(header.ring_size) * 64;
    let to_host = Place {
        offset: record.ring_offset,
        capacity: header.ring_size,
        file_bytes,
    };
    let to_peer = Place {
        offset: record.ring_offset.saturating_add(ring_bytes),
        ..to_host
    };
    let counts = (record.guest_to_host_head, record.guest_to_host_tail);
    let history = detail.history;
    let is_inside = to_host.is_inside() && to_peer.is_inside();
    let to_host = read_ring(memory, &to_host, counts, history, budget)?;
    let counts = (record.host_to_guest_head, record.host_to_guest_tail);
    Ok(Rings {
        to_host,
        to_peer: read_ring(memory, &to_peer, counts, history, budget)?,
        is_inside,
    })
}

/// Notes which slots the unread messages of a ring name, and which of these messages are stale.
fn name_slots<M: RegionMemory + ?Sized>(
    memory: &M,
    ring: &mut HubRing,
    pools: &mut [Pool],
    has_classes: bool,
    pool: usize,
    budget: &mut HubBudget,
) {
    for HubMessage { slot, .. } in &mut ring.unread {
        let Some(slot) = slot else { continue };
        let (pool, index) = match has_classes {
            false => (pool, Some(slot.slot)),
            true => {
                let (class, extent, index) = class_slot(slot.slot);
                let index = pools
                    .get(class)
                    .and_then(|pool| pool.slot_index(extent, index));
                (class, index)
            }
        };
        slot.is_stale = match (pools.get_mut(pool), index) {
            (Some(pool), Some(index)) => pool.name(memory, index, slot.generation, budget),
            _ => true,
        };
    }
}
