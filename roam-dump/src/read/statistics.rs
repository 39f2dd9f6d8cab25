//! Adds up what the threads of a process counted of each method.

use std::collections::HashMap;
use std::io;
use std::mem::offset_of;

use roam_trace_common::latency::BUCKETS;
use roam_trace_common::registry::{StatisticsRecord, Table};
use zerocopy::FromBytes;

use super::budget::Budget;
use super::counts::{add, sum};
use super::header::{ReadError, read_header};
use super::latencies::{Latencies, percentiles};
use super::memory::{RegionMemory, read_full};
use super::scan::Scan;
use super::totals::{MethodKey, MethodTotals};

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
    scan.for_each_statistics(HEAD_BYTES, |_, row| {
        let count = ended.entry((row.method_id, row.direction)).or_default();
        *count = count.saturating_add(sum(&row.outcomes));
    })?;
    *budget = scan.budget;
    Ok(ended)
}

impl<M: RegionMemory + ?Sized> Scan<'_, M> {
    /// Adds up one method after the other: the latencies of all of them would take much memory.
    pub(super) fn read_statistics(&mut self) -> io::Result<Vec<MethodTotals>> {
        let mut rows = Vec::new();
        self.for_each_statistics(HEAD_BYTES, |slot, row| {
            rows.push(((row.method_id, row.direction), slot));
        })?;
        rows.sort_unstable();
        let mut methods = Vec::new();
        for rows in rows.chunk_by(|(a, _), (b, _)| a == b) {
            let Some(left) = self.budget.methods.checked_sub(1) else {
                self.truncated.statistics += rows.len() as u64;
                continue;
            };
            self.budget.methods = left;
            let key = rows[0].0;
            let mut totals = MethodTotals::none(key);
            let mut buckets = [0; BUCKETS];
            for &(_, slot) in rows {
                if let Some(row) = self.statistics_row(slot, size_of::<StatisticsRecord>())?
                    && (row.method_id, row.direction) == key
                {
                    totals.add(&row);
                    add(&mut buckets, &row.buckets);
                }
            }
            totals.percentiles = percentiles(&buckets, totals.longest);
            if let Some(left) = self.budget.latencies.checked_sub(1) {
                self.budget.latencies = left;
                totals.latencies = Some(Latencies::new(&buckets, totals.longest));
            }
            methods.push(totals);
        }
        Ok(methods)
    }

    /// Calls `visit` with every complete row and its slot; of what is behind `row_bytes` of it, with zeros.
    fn for_each_statistics(
        &mut self,
        row_bytes: usize,
        mut visit: impl FnMut(u32, &StatisticsRecord),
    ) -> io::Result<()> {
        let (_, slots) = self.extent(Table::Statistics);
        let mut behind = 0;
        while let Some(slot) = self.next_in_use(Table::Statistics, behind)? {
            let Some(left) = self.budget.statistics.checked_sub(1) else {
                self.truncated.statistics += (slots - slot) as u64;
                break;
            };
            self.budget.statistics = left;
            if let Some(row) = self.statistics_row(slot as u32, row_bytes)? {
                visit(slot as u32, &row);
            }
            behind = slot + 1;
        }
        Ok(())
    }

    /// A complete row; of what is behind `row_bytes` of it, zeros.
    fn statistics_row(&self, slot: u32, row_bytes: usize) -> io::Result<Option<StatisticsRecord>> {
        let (offset, _) = self.extent(Table::Statistics);
        let mut bytes = [0; size_of::<StatisticsRecord>()];
        let start = offset + u64::from(slot) * bytes.len() as u64;
        let got = read_full(self.memory, &mut bytes[..row_bytes], start)?;
        let row = StatisticsRecord::read_from_bytes(&bytes).ok();
        Ok(row.filter(|row| got == row_bytes && row.sequence == 2))
    }
}
