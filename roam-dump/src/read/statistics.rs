//! Adds up what the threads of a process counted of each method.

use std::collections::HashMap;
use std::io;
use std::mem::offset_of;

use roam_trace_common::latency::{BUCKETS, upper_bound};
use roam_trace_common::registry::{OUTCOMES, StatisticsRecord, Table};
use zerocopy::FromBytes;

use super::budget::Budget;
use super::header::{ReadError, read_header};
use super::memory::{RegionMemory, read_full};
use super::scan::Scan;

/// Rows read at a time.
const CHUNK: usize = 64;
/// Bytes of a row in front of its buckets.
const HEAD_BYTES: usize = offset_of!(StatisticsRecord, buckets);

/// A method and the `Direction` code of its calls.
pub type MethodKey = (u64, u32);

/// The calls of one method in one direction that have ended, over all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodTotals {
    /// The method's id on the wire, and a `Direction` code.
    pub key: MethodKey,
    /// By `Outcome` code less one.
    pub outcomes: [u64; OUTCOMES],
    /// Payload bytes of their requests.
    pub request_bytes: u64,
    /// Payload bytes of their responses.
    pub response_bytes: u64,
    /// When the last one ended, on the clock of the registry; 0 for never.
    pub last_ended_ns: u64,
    /// Latencies within which half, 90% and 99% of the answered ones stayed, in units of `latency`; `None` if none was
    /// answered.
    pub percentiles: Option<[u64; 3]>,
    /// The longest of them, in the same units.
    pub longest: u64,
}

impl MethodTotals {
    fn none(key: MethodKey) -> Self {
        Self {
            key,
            outcomes: [0; OUTCOMES],
            request_bytes: 0,
            response_bytes: 0,
            last_ended_ns: 0,
            percentiles: None,
            longest: 0,
        }
    }

    fn add(&mut self, row: &StatisticsRecord) {
        add(&mut self.outcomes, &row.outcomes);
        self.request_bytes = self.request_bytes.saturating_add(row.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(row.response_bytes);
        self.last_ended_ns = self.last_ended_ns.max(row.last_ended_ns);
        self.longest = self.longest.max(row.longest);
    }

    /// Returns how many calls have ended.
    pub fn ended(&self) -> u64 {
        sum(&self.outcomes)
    }
}

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
        self.for_each_statistics(size_of::<StatisticsRecord>(), |row| {
            let key = (row.method_id, row.direction);
            let (totals, buckets) = by_method
                .entry(key)
                .or_insert_with(|| (MethodTotals::none(key), Box::new([0; BUCKETS])));
            totals.add(row);
            add(&mut buckets[..], &row.buckets);
        })?;
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
        let room = slots.min(self.budget.statistics);
        self.truncated.statistics += (slots - room) as u64;
        self.budget.statistics -= room;
        let mut buffer = vec![0; CHUNK.min(room) * slot_bytes];
        for first in (0..room).step_by(CHUNK) {
            let rows = CHUNK.min(room - first);
            let start = offset + (first * slot_bytes) as u64;
            if row_bytes == slot_bytes {
                read_full(self.memory, &mut buffer[..rows * slot_bytes], start)?;
            } else {
                for (slot, row) in buffer.chunks_exact_mut(slot_bytes).take(rows).enumerate() {
                    let start = start + (slot * slot_bytes) as u64;
                    read_full(self.memory, &mut row[..row_bytes], start)?;
                }
            }
            for row in buffer.chunks_exact(slot_bytes).take(rows) {
                if let Ok(row) = StatisticsRecord::read_from_bytes(row)
                    && row.sequence == 2
                {
                    visit(&row);
                }
            }
        }
        Ok(())
    }
}

fn add(to: &mut [u64], more: &[u64]) {
    for (to, more) in to.iter_mut().zip(more) {
        *to = to.saturating_add(*more);
    }
}

fn sum(counts: &[u64]) -> u64 {
    counts
        .iter()
        .fold(0, |sum, &count| sum.saturating_add(count))
}

/// The upper bounds of the buckets that hold the median, the 90th and the 99th percentile.
fn percentiles(buckets: &[u64; BUCKETS], longest: u64) -> Option<[u64; 3]> {
    let count = sum(buckets);
    (count > 0).then(|| {
        [50, 90, 99].map(|percent| {
            let rank = (u128::from(count) * percent).div_ceil(100);
            let mut below = 0;
            let bucket = buckets.iter().position(|&bucket| {
                below += u128::from(bucket);
                below >= rank
            });
            match bucket {
                Some(bucket) if bucket < BUCKETS - 1 => upper_bound(bucket).min(longest),
                _ => longest,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use roam_trace_common::latency::bucket_of;

    fn check(latencies: &[(u64, u64)], expected: Option<[u64; 3]>) {
        let mut buckets = [0; BUCKETS];
        for &(latency, count) in latencies {
            buckets[bucket_of(latency)] += count;
        }
        let longest = latencies.iter().map(|&(latency, _)| latency).max();
        let found = percentiles(&buckets, longest.unwrap_or(0));
        let within = |(found, expected): (u64, u64)| {
            (expected..=expected + expected / 22 + 1).contains(&found)
        };
        match (found, expected) {
            (Some(found), Some(expected)) => {
                assert!(found.into_iter().zip(expected).all(within), "{found:?}");
            }
            (found, expected) => assert_eq!(found, expected),
        }
    }

    #[test]
    fn a_percentile_is_the_bound_of_its_bucket() {
        check(&[], None);
        check(&[(5_000, 1)], Some([5_000; 3]));
        check(&[(5_000, 50), (80_000, 50)], Some([5_000, 80_000, 80_000]));
        check(&[(5_000, 99), (1 << 30, 1)], Some([5_000; 3]));
        check(&[(5_000, 98), (1 << 30, 2)], Some([5_000, 5_000, 1 << 30]));
        check(&[(1 << 50, 3)], Some([1 << 50; 3]));
        check(&[(1, 1)], Some([1; 3]));
        check(
            &[(5_000, u64::MAX), (6_000, u64::MAX)],
            Some([5_000, 5_000, 5_000]),
        );
    }
}
