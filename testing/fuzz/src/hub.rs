//! Small shared-memory hubs for the corpus.

use roam_dump::shm::layout::{
    ClassRecord, DescriptorRecord, FREE_LIST_END, HeaderRecord, INLINE_SLOT, MAGIC, NEXT_FREE_END,
    PeerRecord, SlotRecord, VERSION, peer_state,
};
use zerocopy::{FromZeros, IntoBytes};

const RING_SIZE: u32 = 2;
const SLOTS: u32 = 2;
const SLOT_BYTES: u32 = 64;
const PEERS: u64 = size_of::<HeaderRecord>() as u64;
const POOLS: u64 = PEERS + size_of::<PeerRecord>() as u64;

/// Encodes a hub with one peer, without edits: with a pool for everybody, or with a size class.
pub fn pack(has_classes: bool) -> Vec<u8> {
    let pools = match has_classes {
        false => pools(),
        true => classes(),
    };
    let rings = POOLS + pools.len() as u64;
    let mut header = HeaderRecord::new_zeroed();
    header.magic = MAGIC;
    header.version = VERSION;
    header.header_size = size_of::<HeaderRecord>() as u32;
    header.max_guests = 1;
    header.ring_size = RING_SIZE;
    header.slot_size = SLOT_BYTES;
    header.slots_per_guest = SLOTS;
    header.peer_table_offset = PEERS;
    header.slot_region_offset = POOLS;
    header.var_slot_pool_offset = if has_classes { POOLS } else { 0 };
    let mut peer = PeerRecord::new_zeroed();
    peer.state = peer_state::ATTACHED;
    peer.guest_to_host_head = 1;
    peer.ring_offset = rings;
    let mut input = vec![0; 4];
    input.extend(header.as_bytes());
    input.extend(peer.as_bytes());
    input.extend(pools);
    for slot in [0, INLINE_SLOT, 1, INLINE_SLOT] {
        let mut message = DescriptorRecord::new_zeroed();
        message.msg_type = 1;
        message.payload_slot = slot;
        input.extend(message.as_bytes());
    }
    input
}

/// Two pools: a bitmap, then slots. Of the second, that of the peer, the first slot is taken.
fn pools() -> Vec<u8> {
    let pool = |free: u64| {
        let mut pool = vec![0; 64 + (SLOTS * SLOT_BYTES) as usize];
        pool[..8].copy_from_slice(&free.to_ne_bytes());
        pool
    };
    [pool(0b11), pool(0b10)].concat()
}

fn classes() -> Vec<u8> {
    let mut class = ClassRecord::new_zeroed();
    class.slot_size = SLOT_BYTES;
    class.slots_per_extent = SLOTS;
    class.extent_count = 1;
    class.free_heads = [0, FREE_LIST_END, FREE_LIST_END];
    let mut bytes = class.as_bytes().to_vec();
    for next_free in [1, NEXT_FREE_END] {
        let mut slot = SlotRecord::new_zeroed();
        slot.next_free = next_free;
        bytes.extend(slot.as_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    bytes.resize(bytes.len() + (SLOTS * SLOT_BYTES) as usize, 0);
    bytes
}
