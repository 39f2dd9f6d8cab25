//! Sums of counts that a target chose: they do not overflow.

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
