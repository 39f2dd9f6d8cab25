//! Reads the slots of a table while their owner changes them: each chunk three times, so that a row counts only
//! where its sequence was the same even number before and after it was copied.

use std::io;
use std::time::Duration;

use roam_trace_common::Serial;
use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, HeaderRecord, MethodRecord, RequestRecord, Table, TypeRecord,
};
use zerocopy::{FromBytes, IntoBytes};

use super::budget::Budget;
use super::image::Truncated;
use super::memory::{RegionMemory, read_full};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 19;
/// Times that a row is read which keeps changing, before it is given up.
const ATTEMPTS: usize = if cfg!(loom) { 0 } else { 16 };
/// How long to wait for the writer of a half-written row between two readings. A fuzzer and loom have no other
/// writer to wait for.
const PAUSE: Duration = Duration::from_millis(if cfg!(any(fuzzing, loom)) { 0 } else { 1 });
/// Waits in all: a registry full of half-written rows must not hold the reader up.
const PAUSES: u32 = 20;

/// A row whose sequence and serial the reader checks.
pub trait Row: FromBytes + IntoBytes + Copy {
    /// Its sequence number: even while the row is whole.
    fn sequence(&self) -> u64;
    /// Its serial, 0 in a free slot.
    fn serial(&self) -> u64;
}

macro_rules! rows {
    ($($record:ty),*) => {$(
        impl Row for $record {
            fn sequence(&self) -> u64 {
                self.sequence
            }

            fn serial(&self) -> u64 {
                self.serial
            }
        }
    )*};
}

rows!(ConnectionRecord, RequestRecord, ChannelRecord);

pub(super) struct Scan<'a, M: ?Sized> {
    pub(super) memory: &'a M,
    pub(super) header: HeaderRecord,
    /// Waits that are left.
    pub(super) pauses: u32,
    pub(super) budget: Budget,
    pub(super) torn: u64,
    pub(super) invalid: u64,
    pub(super) truncated: Truncated,
}

impl<'a, M: RegionMemory + ?Sized> Scan<'a, M> {
    pub(super) fn new(memory: &'a M, header: HeaderRecord, budget: Budget) -> Self {
        Self {
            memory,
            header,
            pauses: PAUSES,
            budget,
            torn: 0,
            invalid: 0,
            truncated: Truncated::default(),
        }
    }

    /// Calls `visit` with every live row of a table.
    pub(super) fn for_each_row<R: Row>(
        &mut self,
        table: Table,
        mut visit: impl FnMut(&R),
    ) -> io::Result<()> {
        let slot_bytes = size_of::<R>();
        let per_chunk = CHUNK_BYTES / slot_bytes;
        let (offset, slots) = self.extent(table);
        let mut behind = 0;
        // The pass before, the rows, and the pass after: a copy that carries its own
        // sequence says nothing about when the rest of it was copied.
        let mut passes = [const { Vec::<R>::new() }; 3];
        while let Some(first) = self.next_in_use(table, behind)? {
            let count = per_chunk.min(slots - first).min(self.budget.slots);
            if count == 0 {
                self.truncated.slots += (slots - first) as u64;
                break;
            }
            self.budget.slots -= count;
            let start = offset + (first * slot_bytes) as u64;
            let mut complete = count;
            for pass in &mut passes {
                pass.resize(count, R::new_zeroed());
                let bytes = read_full(self.memory, pass.as_mut_bytes(), start)?;
                complete = complete.min(bytes / slot_bytes);
                if pass[..complete].iter().all(|row| row.sequence() == 0) {
                    complete = 0;
                    break;
                }
            }
            let [before, rows, after] = &passes;
            for index in 0..complete {
                let slot = (first + index) as u32;
                let again;
                let row = match whole(&before[index], &after[index]) {
                    true => &rows[index],
                    false => {
                        again = self.retry::<R>(table, slot)?;
                        let Some(again) = &again else {
                            continue;
                        };
                        again
                    }
                };
                if row.serial() == 0 {
                    continue;
                }
                if Serial(row.serial()).slot() == slot {
                    visit(row);
                } else {
                    self.invalid += 1;
                }
            }
            behind = first + count;
        }
        Ok(())
    }

    /// Reads a row again that changed while it was read.
    ///
    /// A row whose sequence keeps growing was released and claimed anew each time: what it held has
    /// ended, and what it holds began after the reader did. A row that stays half written is torn.
    fn retry<R: Row>(&mut self, table: Table, slot: u32) -> io::Result<Option<R>> {
        let Some(left) = self.budget.retries.checked_sub(1) else {
            self.truncated.slots += 1;
            return Ok(None);
        };
        self.budget.retries = left;
        let mut sequences = [0; ATTEMPTS];
        for sequence in &mut sequences {
            let before = self.slot::<R>(table, slot)?;
            let row = self.slot::<R>(table, slot)?;
            let after = self.slot::<R>(table, slot)?;
            let (Some(before), Some(row), Some(after)) = (before, row, after) else {
                break;
            };
            if whole(&before, &after) {
                return Ok(Some(row));
            }
            *sequence = after.sequence();
            // Its writer may be waiting for a processor.
            if self.pauses > 0 && before.sequence() == after.sequence() {
                self.pauses -= 1;
                std::thread::sleep(PAUSE);
            }
        }
        let grew = sequences
            .windows(2)
            .any(|pair| pair[1].saturating_sub(pair[0]) > 1);
        self.torn += u64::from(!grew);
        Ok(None)
    }

    pub(super) fn slot<R: FromBytes>(&self, table: Table, slot: u32) -> io::Result<Option<R>> {
        let mut buffer = [0; size_of::<ConnectionRecord>()];
        let buffer = &mut buffer[..size_of::<R>()];
        let offset =
            self.header.tables[table as usize].offset + u64::from(slot) * buffer.len() as u64;
        let got = read_full(self.memory, buffer, offset)?;
        Ok((got == buffer.len()).then(|| parse(buffer)).flatten())
    }

    /// What `take` makes of the complete rows of a table whose rows are never released. Read in parts, since
    /// a table may claim gigabytes that it does not have.
    pub(super) fn read_names<R: FromBytes + Name, T>(
        &mut self,
        table: Table,
        take: impl Fn(&R) -> T,
    ) -> io::Result<Vec<T>> {
        let (offset, slots) = self.extent(table);
        let room = slots.min(self.budget.names);
        let end = offset + (room * size_of::<R>()) as u64;
        let mut start = offset;
        let mut buffer = vec![0; CHUNK_BYTES / size_of::<R>() * size_of::<R>()];
        let mut names = Vec::new();
        while start < end {
            let bytes = usize::try_from(end - start).unwrap_or(usize::MAX);
            let bytes = bytes.min(buffer.len());
            let got = read_full(self.memory, &mut buffer[..bytes], start)?;
            let complete = names.len() + got / size_of::<R>();
            let rows = buffer[..got]
                .chunks_exact(size_of::<R>())
                .map_while(parse::<R>)
                .take_while(Name::is_complete);
            names.extend(rows.map(|row| take(&row)));
            if names.len() < complete || got < bytes {
                break;
            }
            start += bytes as u64;
        }
        self.budget.names -= names.len();
        if names.len() == room {
            self.truncated.names += (slots - room) as u64;
        }
        Ok(names)
    }

    /// The first slot of a table from `slot` on that is not in a hole: a table may claim gigabytes that it does not have.
    pub(super) fn next_in_use(&self, table: Table, slot: usize) -> io::Result<Option<usize>> {
        let (offset, slots) = self.extent(table);
        if slot >= slots {
            return Ok(None);
        }
        let start = offset + (slot * table.slot_bytes()) as u64;
        let Some(data) = self.memory.next_data(start)? else {
            return Ok(None);
        };
        let hole = usize::try_from(data.saturating_sub(start)).unwrap_or(usize::MAX);
        let found = slot.checked_add(hole / table.slot_bytes());
        Ok(found.filter(|&slot| slot < slots))
    }

    /// Where a table begins and how many of its slots were ever used.
    pub(super) fn extent(&self, table: Table) -> (u64, usize) {
        let record = self.header.tables[table as usize];
        (record.offset, record.high_water as usize)
    }
}

/// A row that is complete once its sequence says so.
pub(super) trait Name {
    fn is_complete(&self) -> bool;
}

impl Name for MethodRecord {
    fn is_complete(&self) -> bool {
        self.sequence == 2
    }
}

impl Name for TypeRecord {
    fn is_complete(&self) -> bool {
        self.sequence == 2
    }
}

fn parse<R: FromBytes>(bytes: &[u8]) -> Option<R> {
    R::read_from_bytes(bytes).ok()
}

fn whole<R: Row>(before: &R, after: &R) -> bool {
    before.sequence() == after.sequence() && before.sequence().is_multiple_of(2)
}
