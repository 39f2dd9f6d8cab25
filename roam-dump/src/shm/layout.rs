//! The layout of a hub of roam-shm 0.6.0. `tests/shm/layout.rs` compares all of it with the published crate.
//!
//! ```text
//! header │ peers │ host's pool │ pool of each peer │ rings and channels of each peer
//! header │ peers │ size classes: headers, then slots │ rings and channels of each peer │ extents
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First eight bytes of a hub.
pub const MAGIC: [u8; 8] = *b"RAPAHUB\x01";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// First eight bytes of an extent, which a hub with size classes grows by.
pub const EXTENT_MAGIC: [u8; 8] = *b"ROAPEXT\x01";
/// Extents that a size class may have, the first one included.
pub const MAX_EXTENTS: usize = 3;
/// Size classes that a hub may have.
pub const MAX_CLASSES: usize = 256;
/// The least bytes of a slot of a size class.
pub const MIN_CLASS_SLOT_BYTES: u32 = 16;
/// Peers that a hub may have room for.
pub const MAX_PEERS: u32 = 255;
/// Every part of a hub starts at a multiple of this.
pub const ALIGNMENT: u64 = 64;
/// The slot of a message whose payload is in its descriptor.
pub const INLINE_SLOT: u32 = u32::MAX;
/// The end of a list of free slots, as the head of the list has it.
pub const FREE_LIST_END: u64 = u64::MAX;
/// The same, as a slot has it.
pub const NEXT_FREE_END: u32 = u32::MAX;
/// Slots that a word of a pool's bitmap stands for. A set bit is a free slot.
pub const WORD_SLOTS: u32 = 64;

/// The start of a hub.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of roam-shm")]
pub struct HeaderRecord {
    pub magic: [u8; 8],
    pub version: u32,
    pub header_size: u32,
    pub total_size: u64,
    pub max_payload_size: u32,
    pub initial_credit: u32,
    pub max_guests: u32,
    pub ring_size: u32,
    pub peer_table_offset: u64,
    pub slot_region_offset: u64,
    pub slot_size: u32,
    pub slots_per_guest: u32,
    pub max_channels: u32,
    pub host_goodbye: u32,
    /// Nanoseconds, 0 for no heartbeats.
    pub heartbeat_interval: u64,
    /// 0 if every peer has a pool of its own.
    pub var_slot_pool_offset: u64,
    pub current_size: u64,
    pub reserved: [u8; 32],
}

const _: () = assert!(size_of::<HeaderRecord>() == 128);

/// The entry of a peer. Heads and tails count messages, modulo 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of roam-shm")]
pub struct PeerRecord {
    pub state: u32,
    pub epoch: u32,
    pub guest_to_host_head: u32,
    pub guest_to_host_tail: u32,
    pub host_to_guest_head: u32,
    pub host_to_guest_tail: u32,
    /// Nanoseconds since 1970, 0 for none.
    pub last_heartbeat: u64,
    /// The ring to the host; the ring from the host follows it.
    pub ring_offset: u64,
    pub slot_pool_offset: u64,
    pub channel_table_offset: u64,
    pub reserved: [u8; 8],
}

const _: () = assert!(size_of::<PeerRecord>() == 64);

/// States of a peer, in the order of their numbers.
pub mod peer_state {
    /// Nobody has its place.
    pub const EMPTY: u32 = 0;
    /// It takes part.
    pub const ATTACHED: u32 = 1;
    /// It leaves.
    pub const GOODBYE: u32 = 2;
    /// Its place is kept.
    pub const RESERVED: u32 = 3;
}

/// A message.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of roam-frame")]
pub struct DescriptorRecord {
    pub msg_type: u8,
    pub flags: u8,
    pub reserved: [u8; 2],
    pub id: u32,
    pub method_id: u64,
    /// Index of the slot; of a size class: class (8 bits), extent (2 bits), slot (22 bits).
    pub payload_slot: u32,
    pub payload_generation: u32,
    pub payload_offset: u32,
    pub payload_len: u32,
    pub inline_payload: [u8; 32],
}

const _: () = assert!(size_of::<DescriptorRecord>() == 64);

/// The header of a size class.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of roam-shm")]
pub struct ClassRecord {
    pub slot_size: u32,
    pub slots_per_extent: u32,
    pub extent_count: u32,
    pub padding: u32,
    /// Index of the first free slot in the upper 32 bits.
    pub free_heads: [u64; MAX_EXTENTS],
    /// Of the second and the third extent.
    pub extent_offsets: [u64; MAX_EXTENTS - 1],
    pub reserved: [u8; 8],
}

const _: () = assert!(size_of::<ClassRecord>() == 64);

/// What a size class has of each slot.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of roam-shm")]
pub struct SlotRecord {
    pub generation: u32,
    pub state: u32,
    pub owner_peer: u32,
    pub next_free: u32,
}

const _: () = assert!(size_of::<SlotRecord>() == 16);

/// States of a slot of a size class.
pub mod slot_state {
    /// It is free.
    pub const FREE: u32 = 0;
    /// It is allocated.
    pub const ALLOCATED: u32 = 1;
    /// It is in a message.
    pub const IN_FLIGHT: u32 = 2;
}

/// The start of an extent.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are those of roam-shm")]
pub struct ExtentRecord {
    pub magic: [u8; 8],
    pub class_idx: u32,
    pub extent_idx: u32,
    pub slot_count: u32,
    pub slot_size: u32,
    pub reserved: [u8; 40],
}

const _: () = assert!(size_of::<ExtentRecord>() == 64);

/// Returns the next multiple of [`ALIGNMENT`], if there is one.
pub fn aligned(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}

/// Returns the bytes of a pool's bitmap.
pub fn bitmap_bytes(slots: u32) -> u64 {
    u64::from(slots.div_ceil(WORD_SLOTS)) * 8
}

/// Returns the bytes of a pool: its bitmap, then its slots.
pub fn pool_bytes(slots: u32, slot_bytes: u32) -> u64 {
    // Both factors have 32 bits, and the sum does not overflow.
    bitmap_bytes(slots).next_multiple_of(ALIGNMENT) + u64::from(slots) * u64::from(slot_bytes)
}

/// Where a descriptor's slot is in a hub with size classes: class, extent and slot.
pub fn class_slot(payload_slot: u32) -> (usize, usize, u32) {
    (
        (payload_slot >> 24) as usize,
        (payload_slot >> 22 & 3) as usize,
        payload_slot & 0x003f_ffff,
    )
}
