//! Durations in the unit of the model.

use std::time::Duration;

/// Whole microseconds; what is longer than 580,000 years is cut.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
