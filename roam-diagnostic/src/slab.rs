//! Which slots of a table are free. Claims and releases take no lock, allocate
//! nothing and never wait; the rows themselves belong to the callers.
//!
//! A thread keeps a few free slots for itself, so that a claim or a release is a
//! locked instruction only when they run out or there are too many: then a batch
//! of them moves from or to the lists that all threads share.

use std::cell::Cell;
use std::sync::atomic;

use roam_trace_common::registry::Table;

use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering, local};

/// Free lists of a table. Threads are spread over them.
const SHARDS: usize = if cfg!(loom) { 1 } else { 16 };
/// Slots that move between a thread and the lists at a time. Neighbours that were never used move together.
const BATCH: usize = if cfg!(loom) {
    1
} else if cfg!(miri) {
    2
} else {
    16
};
/// Free slots that a thread keeps at the most.
const CACHE: usize = 2 * BATCH;
/// Ends a free list.
const END: u32 = u32::MAX;

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
    /// For every slot in a list, the next one.
    links: Box<[AtomicU32]>,
    /// Slots from here on were never claimed.
    unused: AtomicU32,
    /// How many more threads may keep free slots for themselves.
    caches: AtomicU32,
    /// End of what core dumps hold of the table.
    dumped: AtomicUsize,
}

/// How many threads may keep free slots for themselves: those slots, which other threads cannot claim, are at most 3%
/// of a table.
pub(crate) const fn caches(capacity: u32) -> u32 {
    if cfg!(any(loom, miri)) {
        u32::MAX
    } else {
        capacity / 32 / CACHE as u32
    }
}

impl Slab {
    /// `caches` is the number of threads that may keep free slots for themselves.
    pub(crate) fn new(table: Table, capacity: u32, caches: u32) -> Self {
        Self {
            table,
            capacity,
            shards: std::array::from_fn(|_| Shard(AtomicU64::new(END.into()))),
            links: (0..capacity).map(|_| AtomicU32::new(END)).collect(),
            unused: AtomicU32::new(0),
            caches: AtomicU32::new(caches),
            dumped: AtomicUsize::new(0),
        }
    }

    /// Slots that were ever claimed, or are kept by a thread that will.
    #[cfg(not(loom))]
    pub(crate) fn claimed(&self) -> u32 {
        self.unused.load(Ordering::Acquire).min(self.capacity)
    }

    /// Takes a free slot, or counts a loss where there is none.
    #[inline]
    pub(crate) fn claim(&'static self, region: &Region) -> Option<u32> {
        match LOCAL.try_with(|local| local.cache(self).pop()) {
            Ok(Some(slot)) => Some(slot),
            _ => self.claim_shared(region),
        }
    }

    /// Gives a slot back.
    #[inline]
    pub(crate) fn release(&'static self, slot: u32) {
        let is_kept = LOCAL.try_with(|local| local.cache(self).push(slot));
        if !is_kept.unwrap_or(false) {
            self.release_shared(slot);
        }
    }

    /// Takes slots that were given back before those that were never used, which would take more memory.
    #[cold]
    fn claim_shared(&'static self, region: &Region) -> Option<u32> {
        let mut batch = [END; BATCH];
        // A thread that is ending keeps nothing any more.
        let (shard, room) = LOCAL
            .try_with(|local| (local.shard(), local.cache(self).room(self)))
            .unwrap_or((0, 0));
        let wanted = &mut batch[..if room > 0 { BATCH } else { 1 }];
        let taken = (0..SHARDS)
            .find_map(|other| self.pop((shard + other) % SHARDS, wanted))
            .or_else(|| self.take_unused(wanted, region));
        let Some(taken) = taken else {
            region.count_lost(self.table);
            return None;
        };
        for &slot in batch[1..taken].iter().rev() {
            self.release(slot);
        }
        Some(batch[0])
    }

    /// Gives a slot back with a batch of those that the thread has too many of.
    #[cold]
    fn release_shared(&'static self, slot: u32) {
        let with_batch = LOCAL.try_with(|local| {
            let cache = local.cache(self);
            if cache.room(self) > 0 && cache.push(slot) {
                return;
            }
            let batch = (0..BATCH).map_while(|_| cache.pop());
            self.push(local.shard(), std::iter::once(slot).chain(batch));
        });
        if with_batch.is_err() {
            self.push(0, std::iter::once(slot));
        }
    }

    /// Takes slots out of a list, as many as there are room for. `None` if the list is empty.
    fn pop(&self, shard: usize, slots: &mut [u32]) -> Option<usize> {
        let head = &self.shards[shard].0;
        let mut current = head.load(Ordering::Acquire);
        loop {
            let mut next = current as u32;
            let mut taken = 0;
            // If the list changes meanwhile, the links lead anywhere, and the exchange fails.
            while next != END && taken < slots.len() {
                slots[taken] = next;
                taken += 1;
                next = self.links[next as usize].load(Ordering::Relaxed);
            }
            if taken == 0 {
                return None;
            }
            match head.compare_exchange_weak(
                current,
                changed(current, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(taken),
                Err(seen) => current = seen,
            }
        }
    }

    /// Puts slots into a list.
    fn push(&self, shard: usize, mut slots: impl Iterator<Item = u32>) {
        let Some(last) = slots.next() else {
            return;
        };
        let link = |slot: u32, next| self.links[slot as usize].store(next, Ordering::Relaxed);
        let first = slots.fold(last, |next, slot| {
            link(slot, next);
            slot
        });
        let head = &self.shards[shard].0;
        let mut current = head.load(Ordering::Relaxed);
        loop {
            link(last, current as u32);
            match head.compare_exchange_weak(
                current,
                changed(current, first),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(seen) => current = seen,
            }
        }
    }

    /// Takes slots that nobody had before, up to as many as there is room for.
    fn take_unused(&self, slots: &mut [u32], region: &Region) -> Option<usize> {
        let end = |first: u32| (first + slots.len() as u32).min(self.capacity);
        let first = self
            .unused
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unused| {
                (unused < self.capacity).then(|| end(unused))
            })
            .ok()?;
        let new = first..end(first);
        region.publish_high_water(self.table, new.end, &self.dumped);
        let taken = new.len();
        slots
            .iter_mut()
            .zip(new)
            .for_each(|(slot, new)| *slot = new);
        Some(taken)
    }
}

/// The head of a list that now starts with `slot`.
fn changed(head: u64, slot: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | u64::from(slot)
}

local!(LOCAL: Local = Local::new());

/// What a thread has of its own.
struct Local {
    shard: Cell<usize>,
    /// By table; the first four have slabs, or are `Arguments`.
    caches: [Cache; 4],
}

impl Local {
    const fn new() -> Self {
        Self {
            shard: Cell::new(usize::MAX),
            caches: [const { Cache::new() }; 4],
        }
    }

    fn cache(&self, slab: &Slab) -> &Cache {
        &self.caches[slab.table as usize]
    }

    /// The shard that it puts slots into, and first looks for them in.
    fn shard(&self) -> usize {
        // Orders nothing, so that loom need not know of it.
        static THREADS: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
        if self.shard.get() == usize::MAX {
            let thread = THREADS.fetch_add(1, atomic::Ordering::Relaxed);
            self.shard.set(thread % SHARDS);
        }
        self.shard.get()
    }
}

/// Free slots of one table that a thread keeps for itself.
struct Cache {
    /// The table, once the thread may keep any.
    slab: Cell<Option<&'static Slab>>,
    slots: [Cell<u32>; CACHE],
    len: Cell<usize>,
    /// How many it may keep.
    room: Cell<usize>,
}

impl Cache {
    const fn new() -> Self {
        Self {
            slab: Cell::new(None),
            slots: [const { Cell::new(END) }; CACHE],
            len: Cell::new(0),
            room: Cell::new(0),
        }
    }

    /// How many slots the thread may keep. Asks for room where it has none.
    fn room(&self, slab: &'static Slab) -> usize {
        if self.slab.get().is_none() {
            let granted = slab
                .caches
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                });
            if granted.is_ok() {
                self.slab.set(Some(slab));
                self.room.set(CACHE);
            }
        }
        self.room.get()
    }

    #[inline]
    fn pop(&self) -> Option<u32> {
        let len = self.len.get().checked_sub(1)?;
        self.len.set(len);
        Some(self.slots[len].get())
    }

    /// Returns whether there was room for it.
    #[inline]
    fn push(&self, slot: u32) -> bool {
        let len = self.len.get();
        let has_room = len < self.room.get();
        if has_room {
            self.slots[len].set(slot);
            self.len.set(len + 1);
        }
        has_room
    }

    /// Gives everything back.
    #[cfg(any(not(loom), test))]
    fn close(&self) {
        if let Some(slab) = self.slab.take() {
            slab.push(0, std::iter::from_fn(|| self.pop()));
            self.room.set(0);
            slab.caches.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Under loom a thread's own values are dropped after the tables.
#[cfg(not(loom))]
impl Drop for Cache {
    fn drop(&mut self) {
        self.close();
    }
}

/// Does what the end of the thread does otherwise.
#[cfg(all(test, loom))]
pub(crate) fn end_thread() {
    LOCAL.with(|local| local.caches.iter().for_each(Cache::close));
}
