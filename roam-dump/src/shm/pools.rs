//! The slots of a hub: a bitmap for every peer, or size classes that all share.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use foldhash::HashSet;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::budget::HubBudget;
use super::layout::{
    ClassRecord, EXTENT_MAGIC, ExtentRecord, FREE_LIST_END, HeaderRecord, MAX_CLASSES, MAX_EXTENTS,
    MIN_CLASS_SLOT_BYTES, NEXT_FREE_END, SlotRecord, WORD_SLOTS, aligned, bitmap_bytes, pool_bytes,
    slot_state,
};
use crate::model::{PoolOwner, SlotOwner, SlotPool};
use crate::read::{RegionMemory, read_full};

/// Slots of a pool that are kept as allocated without a message.
const IDLE_SLOTS: usize = 1_024;

const CLASS_BYTES: u64 = size_of::<ClassRecord>() as u64;
const SLOT_RECORD_BYTES: u64 = size_of::<SlotRecord>() as u64;

/// A pool or a size class, as far as it was read.
pub(super) struct Pool {
    owner: PoolOwner,
    slot_bytes: u32,
    total: u64,
    /// Of a size class.
    slots_per_extent: u32,
    slots: Slots,
    listed_free: Option<u64>,
    /// The slots that unread messages name.
    named: HashSet<u32>,
}

enum Slots {
    /// A bit for each, and where the first slot starts: with its generation.
    Bitmap {
        words: Vec<u64>,
        count: u32,
        first: u64,
    },
    /// The records of each, extent after extent.
    Records(Vec<SlotRecord>),
}

/// The state of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Allocated,
    InFlight,
}

impl State {
    fn letter(self) -> char {
        match self {
            Self::Free => 'F',
            Self::Allocated => 'A',
            Self::InFlight => 'I',
        }
    }
}

impl Pool {
    /// The index among all slots of a size class of one in an extent.
    pub(super) fn slot_index(&self, extent: usize, slot: u32) -> Option<u32> {
        let is_inside = slot < self.slots_per_extent;
        let before = (extent as u32).checked_mul(self.slots_per_extent);
        before.filter(|_| is_inside)?.checked_add(slot)
    }

    /// Slots that were read.
    fn count(&self) -> u32 {
        match &self.slots {
            Slots::Bitmap { count, .. } => *count,
            Slots::Records(records) => records.len() as u32,
        }
    }

    fn is_free(&self, slot: u32) -> bool {
        match &self.slots {
            Slots::Bitmap { words, .. } => {
                let word = words[(slot / WORD_SLOTS) as usize];
                word >> (slot % WORD_SLOTS) & 1 == 1
            }
            Slots::Records(records) => records[slot as usize].state == slot_state::FREE,
        }
    }

    fn state(&self, slot: u32) -> State {
        let is_in_flight = match &self.slots {
            Slots::Bitmap { .. } => false,
            Slots::Records(records) => records[slot as usize].state == slot_state::IN_FLIGHT,
        };
        if self.is_free(slot) {
            State::Free
        } else if is_in_flight || self.named.contains(&slot) {
            State::InFlight
        } else {
            State::Allocated
        }
    }

    /// The generation of a slot; `None` if it cannot be read, or was not because of the budget.
    fn generation<M: RegionMemory + ?Sized>(
        &self,
        memory: &M,
        slot: u32,
        budget: &mut HubBudget,
    ) -> Option<u32> {
        match &self.slots {
            Slots::Bitmap { first, .. } => {
                budget.generations = budget.generations.checked_sub(1)?;
                let offset = u64::from(slot).checked_mul(self.slot_bytes.into())?;
                let mut bytes = [0; 4];
                let got = read_full(memory, &mut bytes, first.checked_add(offset)?).ok()?;
                (got == bytes.len()).then_some(u32::from_ne_bytes(bytes))
            }
            Slots::Records(records) => Some(records[slot as usize].generation),
        }
    }

    /// Notes that an unread message names a slot. Returns whether the message is stale: it does not own the slot.
    pub(super) fn name<M: RegionMemory + ?Sized>(
        &mut self,
        memory: &M,
        slot: u32,
        generation: u32,
        budget: &mut HubBudget,
    ) -> bool {
        if u64::from(slot) >= self.total {
            return true;
        }
        if slot >= self.count() {
            return false;
        }
        let found = self.generation(memory, slot, budget);
        let is_stale = self.is_free(slot) || found.is_some_and(|found| found != generation);
        if !is_stale {
            self.named.insert(slot);
        }
        is_stale
    }

    /// Counts the slots by state.
    pub(super) fn finish<M: RegionMemory + ?Sized>(
        self,
        memory: &M,
        with_states: bool,
        budget: &mut HubBudget,
    ) -> SlotPool {
        let count = self.count();
        let mut pool = SlotPool {
            owner: self.owner,
            slot_bytes: self.slot_bytes,
            total: self.total,
            free: 0,
            allocated: 0,
            in_flight: 0,
            unread: self.total - u64::from(count),
            listed_free: self.listed_free,
            owners: Vec::new(),
            states: with_states.then(String::new),
            owner_digits: None,
            idle_slots: Vec::new(),
        };
        let mut owners: BTreeMap<u32, u64> = BTreeMap::new();
        let mut digits = String::new();
        for slot in 0..count {
            let state = self.state(slot);
            match state {
                State::Free => pool.free += 1,
                State::InFlight => pool.in_flight += 1,
                State::Allocated => {
                    pool.allocated += 1;
                    if pool.idle_slots.len() < IDLE_SLOTS
                        && let Some(generation) = self.generation(memory, slot, budget)
                    {
                        pool.idle_slots.push((slot, generation));
                    }
                }
            }
            if let Some(states) = &mut pool.states {
                states.push(state.letter());
            }
            if let Slots::Records(records) = &self.slots {
                let owner = records[slot as usize].owner_peer;
                if state != State::Free && owners.len() < MAX_CLASSES {
                    *owners.entry(owner).or_default() += 1;
                }
                if with_states {
                    let digit = char::from_digit(owner % 10, 10).unwrap_or('?');
                    digits.push(if state == State::Free { '.' } else { digit });
                }
            }
        }
        let owners = owners.into_iter();
        pool.owners = owners
            .map(|(peer, slots)| SlotOwner { peer, slots })
            .collect();
        pool.owner_digits = (!digits.is_empty()).then_some(digits);
        pool
    }
}

/// Reads the pools of a hub in which every peer has its own: the host's first.
pub(super) fn read_pools<M: RegionMemory + ?Sized>(
    memory: &M,
    header: &HeaderRecord,
    file_bytes: u64,
    budget: &mut HubBudget,
    gaps: &mut Vec<Arc<str>>,
) -> io::Result<Vec<Pool>> {
    let slots = header.slots_per_guest;
    let bytes = pool_bytes(slots, header.slot_size);
    let mut pools = Vec::new();
    let mut outside = 0;
    for index in 0..=header.max_guests {
        let offset = u64::from(index)
            .checked_mul(bytes)
            .and_then(|offset| offset.checked_add(header.slot_region_offset));
        let end = offset.and_then(|offset| offset.checked_add(bytes));
        let (offset, is_inside) = match (offset, end) {
            (Some(offset), Some(end)) => (offset, end <= file_bytes),
            _ => (u64::MAX, false),
        };
        outside += u32::from(!is_inside);
        let words = match is_inside {
            true => read_bitmap(memory, offset, slots, budget)?,
            false => Vec::new(),
        };
        let count = slots.min((words.len() as u32).saturating_mul(WORD_SLOTS));
        pools.push(Pool {
            owner: match u8::try_from(index) {
                Ok(peer @ 1..) => PoolOwner::Peer { peer },
                _ => PoolOwner::Host,
            },
            slot_bytes: header.slot_size,
            total: slots.into(),
            slots_per_extent: slots,
            slots: Slots::Bitmap {
                words,
                count,
                first: offset.saturating_add(bitmap_bytes(slots).next_multiple_of(64)),
            },
            listed_free: None,
            named: HashSet::default(),
        });
    }
    if outside > 0 {
        gaps.push(format!("{outside} of its pools lie outside the file").into());
    }
    Ok(pools)
}

fn read_bitmap<M: RegionMemory + ?Sized>(
    memory: &M,
    offset: u64,
    slots: u32,
    budget: &mut HubBudget,
) -> io::Result<Vec<u64>> {
    let read = slots.min(budget.slots);
    budget.slots -= read;
    let mut words = vec![0_u64; read.div_ceil(WORD_SLOTS) as usize];
    let got = read_full(memory, words.as_mut_bytes(), offset)?;
    words.truncate(got / size_of::<u64>());
    Ok(words)
}

/// Reads the size classes of a hub. The hub does not say how many there are: they fill the room before the first ring.
pub(super) fn read_classes<M: RegionMemory + ?Sized>(
    memory: &M,
    header: &HeaderRecord,
    (end, file_bytes): (u64, u64),
    budget: &mut HubBudget,
    gaps: &mut Vec<Arc<str>>,
) -> io::Result<Vec<Pool>> {
    let base = header.var_slot_pool_offset;
    let Some(classes) = read_class_headers(memory, base, end)? else {
        gaps.push("its size classes are invalid".into());
        return Ok(Vec::new());
    };
    let mut pools = Vec::new();
    let mut offset = base + classes.len() as u64 * CLASS_BYTES;
    for (class, record) in (0..).zip(&classes) {
        let extents = (record.extent_count as usize).clamp(1, MAX_EXTENTS);
        let mut first_records = Some(offset.next_multiple_of(SLOT_RECORD_BYTES));
        let mut records = Vec::new();
        let mut listed_free = 0;
        for extent in 0..extents {
            let start = match extent.checked_sub(1) {
                None => first_records.take(),
                Some(grown) => {
                    let offset = record.extent_offsets[grown];
                    extent_records(memory, class, extent, record, offset)?
                }
            };
            let mut gap =
                |what| gaps.push(format!("extent {extent} of class {class} {what}").into());
            let Some(start) = start else {
                gap("has an invalid header");
                break;
            };
            let Some(read) = read_records(memory, start, record, file_bytes, budget)? else {
                gap("lies outside the file");
                break;
            };
            let is_whole = read.len() as u32 == record.slots_per_extent;
            match count_listed(&read, record.free_heads[extent]) {
                Some(count) => listed_free += count,
                None if is_whole => gap("has a list of free slots that is invalid or a cycle"),
                None => {}
            }
            records.extend(read);
            if !is_whole {
                break;
            }
        }
        pools.push(Pool {
            owner: PoolOwner::Class { class },
            slot_bytes: record.slot_size,
            total: u64::from(record.slots_per_extent) * extents as u64,
            slots_per_extent: record.slots_per_extent,
            slots: Slots::Records(records),
            listed_free: Some(listed_free),
            named: HashSet::default(),
        });
        offset = class_end(offset, record).unwrap_or(end);
    }
    Ok(pools)
}

/// The headers of as many classes as end just where the first ring starts.
fn read_class_headers<M: RegionMemory + ?Sized>(
    memory: &M,
    base: u64,
    end: u64,
) -> io::Result<Option<Vec<ClassRecord>>> {
    let mut classes: Vec<ClassRecord> = Vec::new();
    while classes.len() < MAX_CLASSES {
        let mut record = ClassRecord::new_zeroed();
        let Some(offset) = base.checked_add(classes.len() as u64 * CLASS_BYTES) else {
            break;
        };
        let got = read_full(memory, record.as_mut_bytes(), offset)?;
        let is_larger = classes
            .last()
            .is_none_or(|last| record.slot_size > last.slot_size);
        if got < size_of::<ClassRecord>()
            || record.slot_size < MIN_CLASS_SLOT_BYTES
            || record.slots_per_extent == 0
            || !is_larger
        {
            break;
        }
        classes.push(record);
        let first = base + classes.len() as u64 * CLASS_BYTES;
        let last = classes.iter().try_fold(first, class_end);
        if last.and_then(aligned) == Some(end) {
            return Ok(Some(classes));
        }
    }
    Ok(None)
}

/// Where the first extent of a class ends that may start at `offset`.
fn class_end(offset: u64, record: &ClassRecord) -> Option<u64> {
    let slots = u64::from(record.slots_per_extent);
    let records = offset.checked_next_multiple_of(SLOT_RECORD_BYTES)?;
    let data = aligned(records.checked_add(slots * SLOT_RECORD_BYTES)?)?;
    data.checked_add(slots * u64::from(record.slot_size))
}

/// Where the records of an extent are that a class has grown by, if its header is right.
fn extent_records<M: RegionMemory + ?Sized>(
    memory: &M,
    class: u32,
    extent: usize,
    of_class: &ClassRecord,
    offset: u64,
) -> io::Result<Option<u64>> {
    if !offset.is_multiple_of(8) {
        return Ok(None);
    }
    let mut record = ExtentRecord::new_zeroed();
    let got = read_full(memory, record.as_mut_bytes(), offset)?;
    let is_right = got == size_of::<ExtentRecord>()
        && record.magic == EXTENT_MAGIC
        && record.class_idx == class
        && record.extent_idx as usize == extent
        && record.slot_count == of_class.slots_per_extent
        && record.slot_size == of_class.slot_size;
    let records = offset.checked_add(size_of::<ExtentRecord>() as u64);
    Ok(records.filter(|_| is_right))
}

/// The records of an extent's slots, as far as the budget allows; `None` if they lie outside the file.
fn read_records<M: RegionMemory + ?Sized>(
    memory: &M,
    offset: u64,
    class: &ClassRecord,
    file_bytes: u64,
    budget: &mut HubBudget,
) -> io::Result<Option<Vec<SlotRecord>>> {
    let slots = class.slots_per_extent;
    let end = offset.checked_add(u64::from(slots) * SLOT_RECORD_BYTES);
    if end.is_none_or(|end| end > file_bytes) {
        return Ok(None);
    }
    let read = slots.min(budget.slots);
    budget.slots -= read;
    let mut bytes = vec![0; read as usize * size_of::<SlotRecord>()];
    let got = read_full(memory, &mut bytes, offset)?;
    let (records, _) = bytes[..got].as_chunks::<{ size_of::<SlotRecord>() }>();
    let records = records.iter();
    Ok(Some(
        records
            .filter_map(|record| SlotRecord::read_from_bytes(record).ok())
            .collect(),
    ))
}

/// The slots in a list of free ones; `None` if it does not end.
fn count_listed(records: &[SlotRecord], head: u64) -> Option<u64> {
    if head == FREE_LIST_END {
        return Some(0);
    }
    let mut slot = (head >> 32) as u32;
    for count in 1..=records.len() as u64 {
        slot = records.get(slot as usize)?.next_free;
        if slot == NEXT_FREE_END {
            return Some(count);
        }
    }
    None
}
