//! Counts the calls that ended, by method and direction.
//!
//! Each thread counts in rows of its own, so that a counter has one writer and needs no locked instruction. A thread
//! that ends leaves its rows to a later one. Threads that are too many to have rows of their own share some.

use std::cell::Cell;
use std::collections::HashMap;
use std::mem::offset_of;

use roam_trace_common::event::Outcome;
use roam_trace_common::latency::{bucket_of, units_of_ns};
use roam_trace_common::registry::{StatisticsRecord, Table};

use crate::region::{Region, Slot};
use crate::sync::{AtomicBool, AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering, local, pair};

/// Threads that can have rows of their own at the same time.
const OWN_SHARDS: usize = if cfg!(loom) { 1 } else { 64 };
/// Methods whose rows a thread finds without looking into the map of its shard.
const KNOWN_METHODS: usize = 64;

/// A call that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedCall {
    pub(crate) method_id: u64,
    /// `Direction` code.
    pub(crate) direction: u32,
    pub(crate) outcome: Outcome,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) ended_ns: u64,
    /// From its start to the response, or to the end of a call without one.
    pub(crate) latency_ns: u64,
}

/// Which thread counts in which rows.
pub(crate) struct Statistics {
    own: [Shard; OWN_SHARDS],
    shared: Shard,
    /// Rows that there is room for.
    capacity: u32,
    /// Rows that are in use.
    rows: AtomicU32,
    /// End of what core dumps hold of the table.
    dumped: AtomicUsize,
}

/// The rows of one thread, or of all that have none of their own.
#[derive(Default)]
struct Shard {
    is_taken: AtomicBool,
    /// The row of each method, by its id and direction. A thread locks it when it first calls a method, or counts
    /// a method in turns with another one that has the same place in [`Local::known`].
    rows: Mutex<HashMap<(u64, u32), u32>>,
}

/// Where a thread counts the calls of a method.
#[derive(Clone, Copy)]
struct Row {
    index: u32,
    /// Whether other threads count in it too.
    is_shared: bool,
}

impl Statistics {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            own: std::array::from_fn(|_| Shard::default()),
            shared: Shard::default(),
            capacity,
            rows: AtomicU32::new(0),
            dumped: AtomicUsize::new(0),
        }
    }

    /// Counts a call, or counts a loss where its method has no row and there is no room for one.
    #[inline]
    pub(crate) fn count(&'static self, region: &Region, call: &EndedCall) {
        let row = LOCAL
            .try_with(|local| local.row(self, region, call))
            // A thread that is ending has left its rows to another one.
            .unwrap_or_else(|_| self.shared_row(region, call));
        let counters = row.and_then(|row| {
            let slots = region.slots(Table::Statistics);
            let slot = slots.get(row.index)?;
            Some(Counters {
                slot,
                is_shared: row.is_shared,
            })
        });
        match counters {
            Some(counters) => counters.count(call),
            None => region.count_lost(Table::Statistics),
        }
    }

    fn own_row(&self, shard: &Shard, region: &Region, call: &EndedCall) -> Option<Row> {
        // The rest is for the shared shard, so that every method has a row as long as that is possible.
        match self.row_of(shard, self.capacity - self.capacity / 4, region, call) {
            Some(index) => Some(Row {
                index,
                is_shared: false,
            }),
            None => self.shared_row(region, call),
        }
    }

    fn shared_row(&self, region: &Region, call: &EndedCall) -> Option<Row> {
        let index = self.row_of(&self.shared, self.capacity, region, call)?;
        Some(Row {
            index,
            is_shared: true,
        })
    }

    /// A shard's row for the method, made if there are less than `room` rows.
    #[cold]
    fn row_of(&self, shard: &Shard, room: u32, region: &Region, call: &EndedCall) -> Option<u32> {
        let mut rows = shard.rows();
        let key = (call.method_id, call.direction);
        if let Some(&index) = rows.get(&key) {
            return Some(index);
        }
        let index = self
            .rows
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rows| {
                (rows < room).then_some(rows + 1)
            })
            .ok()?;
        let slots = region.slots::<StatisticsRecord>(Table::Statistics);
        let slot = slots.get(index)?;
        region.publish_high_water(Table::Statistics, index + 1, &self.dumped);
        slot.u64(offset_of!(StatisticsRecord, method_id))
            .store(call.method_id, Ordering::Relaxed);
        slot.u64(offset_of!(StatisticsRecord, direction))
            .store(pair(call.direction, 0), Ordering::Relaxed);
        slot.u64(offset_of!(StatisticsRecord, sequence))
            .store(2, Ordering::Release);
        rows.insert(key, index);
        Some(index)
    }
}

impl Shard {
    fn rows(&self) -> MutexGuard<'_, HashMap<(u64, u32), u32>> {
        self.rows
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Makes a shard that nobody has the calling thread's.
    fn take(&self) -> bool {
        // What its last owner counted happened before.
        !self.is_taken.load(Ordering::Relaxed) && !self.is_taken.swap(true, Ordering::Acquire)
    }
}

/// The counters of a row.
struct Counters<'a> {
    slot: Slot<'a, StatisticsRecord>,
    is_shared: bool,
}

impl Counters<'_> {
    #[inline]
    fn count(&self, call: &EndedCall) {
        let outcome = call.outcome.code() as usize - 1;
        self.add(offset_of!(StatisticsRecord, outcomes) + outcome * 8, 1);
        self.add(
            offset_of!(StatisticsRecord, request_bytes),
            call.request_bytes,
        );
        self.add(
            offset_of!(StatisticsRecord, response_bytes),
            call.response_bytes,
        );
        self.raise(offset_of!(StatisticsRecord, last_ended_ns), call.ended_ns);
        if matches!(call.outcome, Outcome::Ok | Outcome::UserError) {
            let latency = units_of_ns(call.latency_ns);
            let bucket = offset_of!(StatisticsRecord, buckets) + bucket_of(latency) * 8;
            self.add(bucket, 1);
            self.raise(offset_of!(StatisticsRecord, longest), latency);
        }
    }

    #[inline]
    fn add(&self, offset: usize, count: u64) {
        let counter = self.slot.u64(offset);
        if self.is_shared {
            counter.fetch_add(count, Ordering::Relaxed);
        } else {
            let sum = counter.load(Ordering::Relaxed).wrapping_add(count);
            counter.store(sum, Ordering::Relaxed);
        }
    }

    #[inline]
    fn raise(&self, offset: usize, value: u64) {
        let word = self.slot.u64(offset);
        if word.load(Ordering::Relaxed) >= value {
            return;
        }
        if self.is_shared {
            word.fetch_max(value, Ordering::Relaxed);
        } else {
            word.store(value, Ordering::Relaxed);
        }
    }
}

local!(LOCAL: Local = Local::new());

/// What a thread has of its own.
struct Local {
    shard: Cell<Option<&'static Shard>>,
    /// By the low bits of the method's id.
    known: [Cell<Known>; KNOWN_METHODS],
}

/// A method that a thread has counted calls of.
#[derive(Clone, Copy)]
struct Known {
    method_id: u64,
    /// 0 before there is one.
    direction: u32,
    /// `None` where there is no room for a row.
    row: Option<Row>,
}

impl Local {
    const fn new() -> Self {
        const NONE: Known = Known {
            method_id: 0,
            direction: 0,
            row: None,
        };
        Self {
            shard: Cell::new(None),
            known: [const { Cell::new(NONE) }; KNOWN_METHODS],
        }
    }

    #[inline]
    fn row(
        &self,
        statistics: &'static Statistics,
        region: &Region,
        call: &EndedCall,
    ) -> Option<Row> {
        let index = call.method_id as usize ^ call.direction as usize;
        let known = &self.known[index % KNOWN_METHODS];
        let Known {
            method_id,
            direction,
            row,
        } = known.get();
        if (method_id, direction) == (call.method_id, call.direction) {
            return row;
        }
        let row = match self.shard(statistics) {
            Some(shard) => statistics.own_row(shard, region, call),
            None => statistics.shared_row(region, call),
        };
        known.set(Known {
            method_id: call.method_id,
            direction: call.direction,
            row,
        });
        row
    }

    /// The thread's shard, `None` while other threads have them all.
    fn shard(&self, statistics: &'static Statistics) -> Option<&'static Shard> {
        if self.shard.get().is_none() {
            self.shard
                .set(statistics.own.iter().find(|shard| shard.take()));
        }
        self.shard.get()
    }

    /// Leaves the rows to another thread.
    #[cfg(any(not(loom), test))]
    fn close(&self) {
        if let Some(shard) = self.shard.take() {
            shard.is_taken.store(false, Ordering::Release);
        }
    }
}

/// Under loom a thread's own values are dropped after the tables.
#[cfg(not(loom))]
impl Drop for Local {
    fn drop(&mut self) {
        self.close();
    }
}

/// Does what the end of the thread does otherwise.
#[cfg(all(test, loom))]
pub(crate) fn end_thread() {
    LOCAL.with(Local::close);
}
