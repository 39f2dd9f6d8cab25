//! Histograms of latencies, by method.

use std::collections::BTreeMap;
use std::sync::Arc;

use roam_dump::decode::latency_of_buckets;
use roam_dump::model::Latency;
use roam_dump::model::id::{Id, id};
use roam_trace_common::event::{BucketKey, Direction};
use roam_trace_common::latency::{BUCKETS, ns_of_units, upper_bound};
use schemars::JsonSchema;
use serde::Serialize;

use super::filter::MethodFilter;
use super::names::Names;

/// The answered calls of a method in one direction, by latency.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MethodHistogram {
    /// The method's id on the wire.
    #[serde(serialize_with = "id")]
    #[schemars(with = "Id")]
    pub(crate) method_id: u64,
    /// `Service.method`, if the process registered the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<Arc<str>>,
    /// Their direction.
    pub(crate) direction: Direction,
    /// How many there are.
    pub(crate) calls: u64,
    /// How long they took; the longest one, too, is the upper bound of its bucket.
    pub(crate) latency: Latency,
    /// The buckets that have calls in them, the shortest latency first.
    pub(crate) buckets: Vec<Bucket>,
}

/// The calls that took longer than the bucket before allows, and no longer than this one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Bucket {
    /// Its number.
    #[serde(skip)]
    pub(crate) index: usize,
    /// Nanoseconds that the longest call in it may have taken; `None` of the last bucket, which has no bound.
    pub(crate) upper_ns: Option<u64>,
    /// How many there are.
    pub(crate) calls: u64,
}

/// Returns the histograms of a process, those with most calls first.
pub(crate) fn histograms(
    buckets: &[(BucketKey, u64)],
    tgid: u32,
    direction: Option<Direction>,
    filter: &MethodFilter,
    names: &mut Names<'_>,
) -> Vec<MethodHistogram> {
    let mut methods: BTreeMap<(u64, Direction), [u64; BUCKETS]> = BTreeMap::new();
    for (key, calls) in buckets.iter().filter(|(key, _)| key.tgid == tgid) {
        if let Some(of_key) = Direction::from_code(key.direction)
            && direction.is_none_or(|direction| direction == of_key)
        {
            let buckets = methods.entry((key.method_id, of_key));
            let buckets = buckets.or_insert([0; BUCKETS]);
            if let Some(bucket) = buckets.get_mut(key.bucket as usize) {
                *bucket = *calls;
            }
        }
    }
    let mut histograms: Vec<_> = methods
        .into_iter()
        .filter_map(|((method_id, direction), buckets)| {
            let method = names.method(tgid, method_id);
            if !filter.passes(method_id, method.as_deref()) {
                return None;
            }
            Some(MethodHistogram {
                method_id,
                method,
                direction,
                calls: buckets.iter().sum(),
                latency: latency_of_buckets(&buckets)?,
                buckets: in_use(&buckets),
            })
        })
        .collect();
    histograms.sort_by_key(|histogram| std::cmp::Reverse(histogram.calls));
    histograms
}

fn in_use(buckets: &[u64; BUCKETS]) -> Vec<Bucket> {
    let in_use = buckets.iter().enumerate().filter(|(_, calls)| **calls > 0);
    in_use
        .map(|(index, &calls)| Bucket {
            index,
            upper_ns: (index < BUCKETS - 1).then(|| ns_of_units(upper_bound(index))),
            calls,
        })
        .collect()
}
