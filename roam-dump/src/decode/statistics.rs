//! Decodes what is usual of each method.

use roam_trace_common::event::{Direction, Outcome};
use roam_trace_common::latency::{BUCKETS, ns_of_units, upper_bound};

use super::names::Names;
use crate::model::{Latency, MethodStatistics, Outcomes};
use crate::read::{Latencies, MethodTotals};

/// The methods of a registry as of `now_ns` on its clock, those of which most calls have ended first. Rows with an unknown
/// direction are left out.
pub(super) fn methods(
    totals: &[MethodTotals],
    names: &Names,
    now_ns: u64,
) -> Vec<MethodStatistics> {
    let mut totals: Vec<_> = totals.iter().collect();
    totals.sort_unstable_by_key(|totals| (std::cmp::Reverse(totals.ended()), totals.key));
    totals
        .into_iter()
        .filter_map(|totals| method(totals, names, now_ns))
        .collect()
}

/// How long calls took, as a person reads it; `None` if there are none.
pub fn latency(latencies: &Latencies) -> Option<Latency> {
    let (percentiles, longest) = latencies.percentiles()?;
    Some(in_microseconds(percentiles, longest))
}

fn in_microseconds([p50, p90, p99]: [u64; 3], longest: u64) -> Latency {
    Latency {
        p50_us: microseconds(p50),
        p90_us: microseconds(p90),
        p99_us: microseconds(p99),
        max_us: microseconds(longest),
    }
}

fn method(totals: &MethodTotals, names: &Names, now_ns: u64) -> Option<MethodStatistics> {
    let (method_id, direction) = totals.key;
    let count = |outcome: Outcome| totals.outcomes[outcome.code() as usize - 1];
    Some(MethodStatistics {
        method_id,
        method: names.methods.get(&method_id).cloned(),
        direction: Direction::from_code(direction)?,
        registry: 0,
        outcomes: Outcomes {
            ok: count(Outcome::Ok),
            user_error: count(Outcome::UserError),
            unknown_method: count(Outcome::UnknownMethod),
            invalid_payload: count(Outcome::InvalidPayload),
            cancelled: count(Outcome::Cancelled),
            dropped: count(Outcome::Dropped),
            connection_closed: count(Outcome::ConnectionClosed),
            aborted: count(Outcome::Aborted),
            no_answer: count(Outcome::NoAnswer),
        },
        request_bytes: totals.request_bytes,
        response_bytes: totals.response_bytes,
        latency: (totals.percentiles).map(|found| in_microseconds(found, totals.longest)),
        last_ended_us: (totals.last_ended_ns != 0)
            .then(|| now_ns.saturating_sub(totals.last_ended_ns) / 1_000),
    })
}

/// Returns what is usual by the buckets of a histogram. The longest call is the bound of the last one that has a call in
/// it. `None` without a call.
pub fn latency_of_buckets(buckets: &[u64; BUCKETS]) -> Option<Latency> {
    let longest = upper_bound(buckets.iter().rposition(|&calls| calls > 0)?);
    latency(&Latencies::new(buckets, longest))
}

/// Rounded up: what took less than a microsecond took some time.
fn microseconds(units: u64) -> u64 {
    ns_of_units(units).div_ceil(1_000)
}
