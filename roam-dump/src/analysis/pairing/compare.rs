//! Which of two numbers is smaller by more than chance.

/// Times closer than that are the same: the clock ticks every 1 to 10 ms.
pub(super) const NOISE_US: u64 = 20_000;

/// 1 where the first time is shorter by more than chance, -1 where the second is.
pub(super) fn shorter(a_us: Option<i64>, b_us: Option<i64>) -> i32 {
    match (a_us, b_us) {
        (Some(a), Some(b)) => smaller(a.unsigned_abs(), b.unsigned_abs(), NOISE_US),
        _ => 0,
    }
}

/// 1 where the first number is smaller by more than chance, -1 where the second is.
pub(super) fn smaller(a: u64, b: u64, noise: u64) -> i32 {
    if a.max(b) < noise {
        0
    } else if a.saturating_mul(4) <= b {
        1
    } else if b.saturating_mul(4) <= a {
        -1
    } else {
        0
    }
}
