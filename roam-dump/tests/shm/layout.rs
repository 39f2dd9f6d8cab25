//! The layout that this reader has is that of the published crate.

use std::mem::offset_of;

use roam_dump::shm::layout;
use roam_shm::layout::{ExtentHeader, SegmentHeader};
use roam_shm::{MsgDesc, PeerEntry, PeerState, SizeClassHeader, VarSlotHandle};

/// Compares the size of two types and the offsets of fields.
macro_rules! check_fields {
    ($published:ty, $own:ty, $($field:ident $(= $other:ident)?),+) => {
        assert_eq!(size_of::<$published>(), size_of::<$own>());
        $(check_fields!(@ $published, $own, $field $(= $other)?);)+
    };
    (@ $published:ty, $own:ty, $field:ident) => {
        assert_eq!(offset_of!($published, $field), offset_of!($own, $field), stringify!($field));
    };
    (@ $published:ty, $own:ty, $field:ident = $other:ident) => {
        assert_eq!(offset_of!($published, $field), offset_of!($own, $other), stringify!($field));
    };
}

#[test]
fn records() {
    check_fields!(
        SegmentHeader,
        layout::HeaderRecord,
        magic,
        version,
        header_size,
        total_size,
        max_payload_size,
        initial_credit,
        max_guests,
        ring_size,
        peer_table_offset,
        slot_region_offset,
        slot_size,
        slots_per_guest,
        max_channels,
        host_goodbye,
        heartbeat_interval,
        var_slot_pool_offset,
        current_size,
        reserved
    );
    check_fields!(
        PeerEntry,
        layout::PeerRecord,
        state,
        epoch,
        guest_to_host_head,
        guest_to_host_tail,
        host_to_guest_head,
        host_to_guest_tail,
        last_heartbeat,
        ring_offset,
        slot_pool_offset,
        channel_table_offset,
        reserved
    );
    check_fields!(
        MsgDesc,
        layout::DescriptorRecord,
        msg_type,
        flags,
        _reserved = reserved,
        id,
        method_id,
        payload_slot,
        payload_generation,
        payload_offset,
        payload_len,
        inline_payload
    );
    check_fields!(
        SizeClassHeader,
        layout::ClassRecord,
        slot_size,
        slots_per_extent,
        extent_count,
        _pad = padding,
        free_heads,
        extent_offsets,
        _reserved = reserved
    );
    check_fields!(
        ExtentHeader,
        layout::ExtentRecord,
        magic,
        class_idx,
        extent_idx,
        slot_count,
        slot_size,
        _reserved = reserved
    );
}

#[test]
fn constants() {
    use layout::peer_state;

    assert_eq!(layout::MAGIC, roam_shm::MAGIC);
    assert_eq!(layout::VERSION, roam_shm::VERSION);
    assert_eq!(layout::EXTENT_MAGIC, roam_shm::layout::EXTENT_MAGIC);
    assert_eq!(layout::MAX_EXTENTS, roam_shm::layout::MAX_EXTENTS_PER_CLASS);
    assert_eq!(layout::INLINE_SLOT, roam_shm::INLINE_PAYLOAD_SLOT);
    assert_eq!(
        layout::FREE_LIST_END,
        roam_shm::var_slot_pool::FREE_LIST_END
    );
    assert_eq!(peer_state::EMPTY, PeerState::Empty as u32);
    assert_eq!(peer_state::ATTACHED, PeerState::Attached as u32);
    assert_eq!(peer_state::GOODBYE, PeerState::Goodbye as u32);
    assert_eq!(peer_state::RESERVED, PeerState::Reserved as u32);
    let handle = VarSlotHandle {
        class_idx: 7,
        extent_idx: 2,
        slot_idx: 0x0012_3456,
        generation: 1,
    };
    assert_eq!(layout::class_slot(handle.pack_slot()), (7, 2, 0x0012_3456));
    // Every kind of message has its name.
    let names = (1..=10).map(|code| roam_shm::msg::msg_type_name(code).to_lowercase());
    let own = (1..=10).map(|code| roam_dump::shm::message_kind(code).to_string());
    assert!(own.eq(names));
}
