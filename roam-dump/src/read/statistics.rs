//! Adds up what the threads of a process counted of each method.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::mem::offset_of;

use roam_trace_common::latency::BUCKETS;
use roam_trace_common::registry::{StatisticsRecord, Table};
use zerocopy::FromBytes;

use super::budget::Budget;
use super::header::{ReadError, read_header};
use super::memory::{RegionMemory, read_full};
use super::scan::Scan;
use super::totals::{MethodKey, MethodTotals, add, percentiles, sum};

/// Methods and directions of one registry whose latencies are added up, four megabytes of them. The rest is left out.
const METHODS: usize = 1_024;
/// Bytes of a row in front of its buckets.
const HEAD_BYTES: usize = offset_of!(StatisticsRecord, buckets);

/// Reads how many calls of each method have ended, as far as the budget allows.
///
/// # Errors
///
/// [`ReadError`] if the memory is unreadable or its header is invalid.
pub fn read_ended<M: RegionMemory + ?Sized>(
    memory: &M,
    budget: &mut Budget,
) -> Result<HashMap<MethodKey, u64>, ReadError> {
    let mut scan = Scan::new(memory, read_header(memory)?, *budget);
    let mut ended: HashMap<MethodKey, u64> = HashMap::new();
    scan.for_each_statistics(HEAD_BYTES, |row| {
        let count = ended.entry((row.method_id, row.direction)).or_default();
        *count = count.saturating_add(sum(&row.outcomes));
    })?;
    *budget = scan.budget;
    Ok(ended)
}

impl<M: RegionMemory + ?Sized> Scan<'_, M> {
    pub(super) fn read_statistics(&mut self) -> io::Result<Vec<MethodTotals>> {
        let mut by_method: HashMap<MethodKey, (MethodTotals, Box<[u64; BUCKETS]>)> = HashMap::new();
        let mut left_out = 0;
        self.for_each_statistics(size_of::<StatisticsRecord>(), |row| {
            let key = (row.method_id, row.direction);
            let has_room = by_method.len() < METHODS;
            let (totals, buckets) = match by_method.entry(key) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) if has_room => {
                    entry.insert((MethodTotals::none(key), Box::new([0; BUCKETS])))
                }
                Entry::Vacant(_) => {
                    left_out += 1;
                    return;
                }
            };
            totals.add(row);
            add(&mut buckets[..], &row.buckets);
        })?;
        self.truncated.statistics += left_out;
        Ok(by_method
            .into_values()
            .map(|(totals, buckets)| MethodTotals {
                percentiles: percentiles(&buckets, totals.longest),
                ..totals
            })
            .collect())
    }

    /// Calls `visit` with every complete row; of what is behind `row_bytes` of it, with zeros.
    fn for_each_statistics(
        &mut self,
        row_bytes: usize,
        mut visit: impl FnMut(&StatisticsRecord),
    ) -> io::Result<()> {
        let slot_bytes = size_of::<StatisticsRecord>();
        let (offset, slots) = self.extent(Table::Statistics);
        let mut row = vec![0; slot_bytes];
        let mut behind = 0;
        while let Some(slot) = self.next_in_use(Table::Statistics, behind)? {
            let start = offset + (slot * slot_bytes) as u64;
            let Some(left) = self.budget.statistics.checked_sub(1) else {
                self.truncated.statistics += (slots - slot) as u64;
                break;
            };
            self.budget.statistics = left;
            if read_full(self.memory, &mut row[..row_bytes], start)? < row_bytes {
                break;
            }
            if let Ok(row) = StatisticsRecord::read_from_bytes(&row)
                && row.sequence == 2
            {
                visit(&row);
            }
            behind = slot + 1;
        }
        Ok(())
    }
}
