//! How long the calls of one method took, by bucket.

use std::fmt;

use roam_trace_common::latency::{BUCKETS, upper_bound};

use super::counts::sum;

/// How many answered calls of one method took how long, over all threads: a count for each bucket of
/// [`latency`](roam_trace_common::latency).
#[derive(Clone, PartialEq, Eq)]
pub struct Latencies {
    buckets: Box<[u64; BUCKETS]>,
    /// None of them took longer, in units of `latency`.
    longest: u64,
}

impl fmt::Debug for Latencies {
    /// Without the buckets, most of which are empty.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Latencies")
            .field("longest", &self.longest)
            .finish_non_exhaustive()
    }
}

impl Latencies {
    /// Takes the count of each bucket, and the longest latency, in units of `latency`.
    pub fn new(buckets: &[u64; BUCKETS], longest: u64) -> Self {
        Self {
            buckets: Box::new(*buckets),
            longest,
        }
    }

    /// Returns those that ended after an earlier reading. The longest of them is known as exactly as its bucket.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut buckets = self.buckets.clone();
        for (count, earlier) in buckets.iter_mut().zip(&*earlier.buckets) {
            *count = count.saturating_sub(*earlier);
        }
        let longest = match buckets.iter().rposition(|&count| count > 0) {
            Some(bucket) if bucket < BUCKETS - 1 => upper_bound(bucket).min(self.longest),
            _ => self.longest,
        };
        Self { buckets, longest }
    }

    /// Returns the latencies that half, 90% and 99% of the calls did not exceed, and the longest, in units of `latency`;
    /// `None` if there are no calls. Each percentile is the upper bound of a bucket.
    pub fn percentiles(&self) -> Option<([u64; 3], u64)> {
        let percentiles = percentiles(&self.buckets, self.longest)?;
        Some((percentiles, self.longest))
    }
}

/// The upper bounds of the buckets that hold the median, the 90th and the 99th percentile.
pub(super) fn percentiles(buckets: &[u64; BUCKETS], longest: u64) -> Option<[u64; 3]> {
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
    use roam_trace_common::latency::bucket_of;

    use super::*;

    fn latencies(counted: &[(u64, u64)]) -> Latencies {
        let mut buckets = [0; BUCKETS];
        for &(latency, count) in counted {
            buckets[bucket_of(latency)] += count;
        }
        let longest = counted.iter().map(|&(latency, _)| latency).max();
        Latencies::new(&buckets, longest.unwrap_or(0))
    }

    fn bound(latency: u64) -> u64 {
        upper_bound(bucket_of(latency))
    }

    #[test]
    fn what_an_earlier_reading_had_is_not_counted_again() {
        let earlier = latencies(&[(5_000, 1_000), (1 << 30, 1)]);
        let later = latencies(&[(5_000, 1_001), (80_000, 3), (1 << 30, 1)]);
        let expected = bound(80_000);
        let since = later.since(&earlier).percentiles();
        assert_eq!(since, Some(([expected, expected, expected], expected)));
        assert_eq!(later.since(&later).percentiles(), None);
    }

    #[test]
    fn a_single_longest_call_is_exact() {
        let none = latencies(&[]);
        let later = latencies(&[(80_000, 1)]);
        assert_eq!(
            later.since(&none).percentiles(),
            Some(([80_000; 3], 80_000))
        );
        // A program that was executed anew counts from the start.
        assert_eq!(none.since(&later).percentiles(), None);
    }

    fn check(counted: &[(u64, u64)], expected: Option<[u64; 3]>) {
        let found = latencies(counted).percentiles();
        let found = found.map(|(percentiles, _)| percentiles);
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
