//! What the threads of a process counted of one method, added up.

use roam_trace_common::latency::{BUCKETS, upper_bound};
use roam_trace_common::registry::{OUTCOMES, StatisticsRecord};

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
    pub(super) fn none(key: MethodKey) -> Self {
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

    pub(super) fn add(&mut self, row: &StatisticsRecord) {
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

pub(super) fn add(to: &mut [u64], more: &[u64]) {
    for (to, more) in to.iter_mut().zip(more) {
        *to = to.saturating_add(*more);
    }
}

pub(super) fn sum(counts: &[u64]) -> u64 {
    counts
        .iter()
        .fold(0, |sum, &count| sum.saturating_add(count))
}

/// The upper bounds of the buckets that hold the median, the 90th and the 99th percentile.
pub(crate) fn percentiles(buckets: &[u64; BUCKETS], longest: u64) -> Option<[u64; 3]> {
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
