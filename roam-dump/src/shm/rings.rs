//! The messages of one direction between a peer and its host.

use zerocopy::FromBytes;

use super::budget::HubBudget;
use super::layout::{DescriptorRecord, INLINE_SLOT};
use crate::model::{HubMessage, HubRing, MessageKind, MessageSlot};
use crate::read::{RegionMemory, read_full};

const DESCRIPTOR_BYTES: u64 = size_of::<DescriptorRecord>() as u64;

/// Where a ring is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// Messages that it has room for, a power of two.
    pub(super) capacity: u32,
    /// Bytes of the file.
    pub(super) file_bytes: u64,
}

impl Place {
    /// Whether all of it lies in the file.
    pub(super) fn is_inside(&self) -> bool {
        let bytes = u64::from(self.capacity) * DESCRIPTOR_BYTES;
        let end = self.offset.checked_add(bytes);
        self.offset.is_multiple_of(8) && end.is_some_and(|end| end <= self.file_bytes)
    }
}

/// Reads the unread messages of a ring, and up to `history` of those that were read. What is not read because of the
/// budget is missing in `unread`, and counted in `len`.
pub(super) fn read_ring<M: RegionMemory + ?Sized>(
    memory: &M,
    place: &Place,
    (head, tail): (u32, u32),
    history: u32,
    budget: &mut HubBudget,
) -> std::io::Result<HubRing> {
    let len = head.wrapping_sub(tail);
    let capacity = place.capacity;
    let mut ring = HubRing {
        head,
        tail,
        len,
        capacity,
        unread: Vec::new(),
        history: Vec::new(),
        is_invalid: len > capacity,
    };
    if ring.is_invalid || !place.is_inside() {
        return Ok(ring);
    }
    ring.unread = read_messages(memory, place, tail, len, budget)?;
    // What was read stays until it is overwritten. Since 2^32 messages nobody has overwritten anything.
    let read = history.min(capacity - len).min(tail);
    ring.history = read_messages(memory, place, tail - read, read, budget)?;
    Ok(ring)
}

fn read_messages<M: RegionMemory + ?Sized>(
    memory: &M,
    place: &Place,
    first: u32,
    count: u32,
    budget: &mut HubBudget,
) -> std::io::Result<Vec<HubMessage>> {
    let count = count.min(budget.messages);
    budget.messages -= count;
    let index = first % place.capacity;
    let until_end = count.min(place.capacity - index);
    let mut messages = Vec::new();
    let mut bytes = Vec::new();
    for (index, count) in [(index, until_end), (0, count - until_end)] {
        bytes.resize(count as usize * DESCRIPTOR_BYTES as usize, 0);
        let offset = place.offset + u64::from(index) * DESCRIPTOR_BYTES;
        let got = read_full(memory, &mut bytes, offset)?;
        let (records, _) = bytes[..got].as_chunks::<{ size_of::<DescriptorRecord>() }>();
        for record in records {
            if let Ok(record) = DescriptorRecord::read_from_bytes(record) {
                let position = first.wrapping_add(messages.len() as u32);
                messages.push(message(position, &record));
            }
        }
    }
    Ok(messages)
}

fn message(position: u32, record: &DescriptorRecord) -> HubMessage {
    let kind = message_kind(record.msg_type);
    let is_request = kind == MessageKind::Request;
    HubMessage {
        position,
        kind,
        id: record.id,
        method_id: is_request.then_some(record.method_id),
        method: None,
        age_us: None,
        payload_bytes: record.payload_len,
        slot: (record.payload_slot != INLINE_SLOT).then_some(MessageSlot {
            slot: record.payload_slot,
            generation: record.payload_generation,
            is_stale: false,
        }),
    }
}

/// Returns the kind of a message by its number in a descriptor.
pub fn message_kind(msg_type: u8) -> MessageKind {
    match msg_type {
        1 => MessageKind::Request,
        2 => MessageKind::Response,
        3 => MessageKind::Cancel,
        4 => MessageKind::Data,
        5 => MessageKind::Close,
        6 => MessageKind::Reset,
        7 => MessageKind::Goodbye,
        8 => MessageKind::Connect,
        9 => MessageKind::Accept,
        10 => MessageKind::Reject,
        other => MessageKind::Unknown(other),
    }
}
