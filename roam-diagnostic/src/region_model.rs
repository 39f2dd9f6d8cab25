//! Stands in for the region where loom tries the slot protocol: the same slots, made of loom's atomics. It
//! is no shared memory, and holds rows only, neither text nor names.

use std::marker::PhantomData;
use std::mem::offset_of;

use roam_trace_common::registry::{StatisticsRecord, Table};

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

pub(crate) struct Region {
    tables: [Vec<Vec<AtomicU64>>; Table::ALL.len()],
    lost: [AtomicU64; Table::ALL.len()],
}

/// What the header of a region says about the process.
#[expect(dead_code, reason = "there is no header here")]
pub(crate) struct Identity {
    pub(crate) process_id: u32,
    pub(crate) process_start_ticks: u64,
    pub(crate) created_ns: u64,
    pub(crate) flags: u32,
}

impl Region {
    pub(crate) fn create(capacities: [u32; Table::ALL.len()], _: &Identity) -> Option<Self> {
        let slot = |table: Table| {
            let words = (0..words(table)).map(|_| AtomicU64::new(0));
            words.collect()
        };
        Some(Self {
            tables: std::array::from_fn(|index| match Table::ALL[index] {
                Table::Arguments | Table::Methods | Table::Types => Vec::new(),
                table => (0..capacities[index]).map(|_| slot(table)).collect(),
            }),
            lost: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    pub(crate) fn set_flag(&self, _: u32) {}

    pub(crate) fn is_owner(&self) -> bool {
        true
    }

    pub(crate) fn slots<R>(&self, table: Table) -> Slots<'_, R> {
        Slots {
            slots: &self.tables[table as usize],
            record: PhantomData,
        }
    }

    pub(crate) fn count_lost(&self, table: Table) {
        self.lost[table as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn publish_high_water(&self, _: Table, _: u32, _: &AtomicUsize) {}
}

pub(crate) type Cell = [AtomicU64; 4];

pub(crate) fn private_cells(count: u32) -> Option<Box<[Cell]>> {
    let cell = |_| std::array::from_fn(|_| AtomicU64::new(0));
    Some((0..count).map(cell).collect())
}

/// Words of a slot. The buckets of statistics share their first one: loom takes its time for every word.
fn words(table: Table) -> usize {
    match table {
        Table::Statistics => offset_of!(StatisticsRecord, buckets) / 8 + 1,
        table => table.slot_bytes() / 8,
    }
}

pub(crate) struct Slots<'a, R> {
    slots: &'a [Vec<AtomicU64>],
    record: PhantomData<R>,
}

impl<'a, R> Slots<'a, R> {
    pub(crate) fn get(self, slot: u32) -> Option<Slot<'a, R>> {
        Some(Slot {
            words: self.slots.get(slot as usize)?,
            record: PhantomData,
        })
    }
}

pub(crate) struct Slot<'a, R> {
    words: &'a [AtomicU64],
    record: PhantomData<R>,
}

impl<R> Clone for Slot<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Slot<'_, R> {}

impl<'a, R> Slot<'a, R> {
    pub(crate) fn u64(self, offset: usize) -> &'a AtomicU64 {
        &self.words[(offset / 8).min(self.words.len() - 1)]
    }

    pub(crate) fn store_text(self, _: usize, _: usize, text: &str) -> u32 {
        text.len() as u32
    }
}
