//! Which slots of a table are free. Claims and releases take no lock, allocate
//! nothing and never wait; the rows themselves belong to the callers.

#[cfg(not(loom))]
use std::cell::Cell;

use roam_trace_common::registry::Table;

use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Free lists of a table. Threads are spread over them.
const SHARDS: usize = if cfg!(loom) { 1 } else { 16 };
/// Unused slots that a thread takes at a time, so that neighbours share a thread.
const CHUNK: u32 = if cfg!(any(loom, miri)) { 2 } else { 16 };
/// Ends a free list.
const END: u32 = (1 << NEXT_BITS) - 1;
/// Bits of a link that name the next free slot; the rest names the slot's home shard.
const NEXT_BITS: u32 = 25;

/// A free list. Low half: first free slot; high half: a count that grows with
/// every change, so that a list that came back to the same slot is not mistaken
/// for an unchanged one.
#[repr(align(128))]
struct Shard(AtomicU64);

/// The free slots of one table.
pub(crate) struct Slab {
    table: Table,
    capacity: u32,
    shards: [Shard; SHARDS],
    /// For every slot, the next free one and its home shard.
    links: Box<[AtomicU32]>,
    /// Slots from here on were never claimed.
    unused: AtomicU32,
    /// End of what core dumps hold of the table.
    dumped: AtomicUsize,
}

impl Slab {
    pub(crate) fn new(table: Table, capacity: u32) -> Self {
        Self {
            table,
            capacity,
            shards: std::array::from_fn(|_| Shard(AtomicU64::new(END.into()))),
            links: (0..capacity).map(|_| AtomicU32::new(END)).collect(),
            unused: AtomicU32::new(0),
            dumped: AtomicUsize::new(0),
        }
    }

    /// Slots that were ever claimed.
    #[cfg(not(loom))]
    pub(crate) fn claimed(&self) -> u32 {
        self.unused.load(Ordering::Acquire).min(self.capacity)
    }

    /// Takes a free slot, or counts a loss where there is none.
    #[inline]
    pub(crate) fn claim(&self, region: &Region) -> Option<u32> {
        let own = own_shard();
        self.pop(own)
            .or_else(|| self.take_unused(own, region))
            .or_else(|| self.pop_any())
            .or_else(|| {
                region.count_lost(self.table);
                None
            })
    }

    /// Gives a slot back to the shard it came from.
    #[inline]
    pub(crate) fn release(&self, slot: u32) {
        let home = self.links[slot as usize].load(Ordering::Relaxed) >> NEXT_BITS;
        self.push(home as usize, slot);
    }

    fn pop(&self, shard: usize) -> Option<u32> {
        let head = &self.shards[shard].0;
        let mut current = head.load(Ordering::Acquire);
        loop {
            let slot = current as u32;
            if slot == END {
                return None;
            }
            let next = self.links[slot as usize].load(Ordering::Relaxed) & END;
            match head.compare_exchange_weak(
                current,
                changed(current, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(slot),
                Err(seen) => current = seen,
            }
        }
    }

    fn push(&self, shard: usize, slot: u32) {
        let head = &self.shards[shard].0;
        let mut current = head.load(Ordering::Relaxed);
        loop {
            let link = current as u32 | (shard as u32) << NEXT_BITS;
            self.links[slot as usize].store(link, Ordering::Relaxed);
            match head.compare_exchange_weak(
                current,
                changed(current, slot),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(seen) => current = seen,
            }
        }
    }

    #[cold]
    fn take_unused(&self, shard: usize, region: &Region) -> Option<u32> {
        let first = self
            .unused
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unused| {
                (unused < self.capacity).then(|| (unused + CHUNK).min(self.capacity))
            })
            .ok()?;
        let end = (first + CHUNK).min(self.capacity);
        region.publish_high_water(self.table, end, &self.dumped);
        self.links[first as usize].store(END | (shard as u32) << NEXT_BITS, Ordering::Relaxed);
        for slot in (first + 1..end).rev() {
            self.push(shard, slot);
        }
        Some(first)
    }

    #[cold]
    fn pop_any(&self) -> Option<u32> {
        (0..SHARDS).find_map(|shard| self.pop(shard))
    }
}

/// The head of a list that now starts with `slot`.
fn changed(head: u64, slot: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | u64::from(slot)
}

/// The only shard, so that threads meet.
#[cfg(loom)]
fn own_shard() -> usize {
    0
}

/// The shard of this thread.
#[cfg(not(loom))]
#[inline]
fn own_shard() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}
