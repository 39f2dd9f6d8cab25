//! Buckets of latencies: base-2 exponential with 16 buckets per octave, upper bounds inclusive.
//!
//! Latencies are counted in units of 2^-30 s (0.93 ns), not in nanoseconds: a bucket's bounds are then those of an
//! exponential histogram of seconds with scale 4 in the OpenTelemetry data model, or schema 4 of a Prometheus native
//! histogram. A percentile that is read from them is at most 4.5% too high.

/// Number of buckets. The first one takes everything up to 2^10 units (0.95 us), the last one everything above
/// 2^(10 + 478/16) units (16 minutes).
pub const BUCKETS: usize = 480;

/// Units in a second.
pub const UNITS_PER_SECOND: u64 = 1 << 30;

/// Number of buckets of an octave.
pub const PER_OCTAVE: usize = 16;
/// Octaves below the upper bound of the first bucket.
const FIRST_OCTAVE: u32 = 10;

/// 2^(k/16), times 2^63, cut; then what nothing is above.
const BOUNDS: [u64; PER_OCTAVE + 2] = [
    0x8000000000000000,
    0x85aac367cc487b14,
    0x8b95c1e3ea8bd6e6,
    0x91c3d373ab11c336,
    0x9837f0518db8a96f,
    0x9ef5326091a111ad,
    0xa5fed6a9b15138ea,
    0xad583eea42a14ac6,
    0xb504f333f9de6484,
    0xbd08a39f580c36be,
    0xc5672a115506dadd,
    0xce248c151f8480e3,
    0xd744fccad69d6af4,
    0xe0ccdeec2a94e111,
    0xeac0c6e7dd24392e,
    0xf5257d152486cc2c,
    u64::MAX,
    u64::MAX,
];

/// How many bounds lie below each sixteenth of the straight line from 1 to 2.
#[cfg(not(target_arch = "bpf"))]
const CROSSED: [usize; PER_OCTAVE] = {
    let mut crossed = [0; PER_OCTAVE];
    let mut part = 0;
    while part < crossed.len() {
        while crossed[part] < PER_OCTAVE
            && BOUNDS[crossed[part]] < (1 << 63) + ((part as u64) << 59)
        {
            crossed[part] += 1;
        }
        part += 1;
    }
    crossed
};

/// Units in a nanosecond beyond the first, times 2^64, rounded up.
const REST_PER_NS: u64 =
    (((UNITS_PER_SECOND as u128 - 1_000_000_000) << 64) / 1_000_000_000) as u64 + 1;

/// Converts nanoseconds to units, cut. Exact up to 2 hours, and at most one unit too many beyond.
#[inline]
pub const fn units_of_ns(ns: u64) -> u64 {
    // Of a constant: a division of 128 bits takes as long as everything else that a call is counted by.
    ns.saturating_add(high_product(ns, REST_PER_NS))
}

/// Returns the upper half of a product.
#[cfg(not(target_arch = "bpf"))]
const fn high_product(a: u64, b: u64) -> u64 {
    ((a as u128 * b as u128) >> 64) as u64
}

#[cfg(target_arch = "bpf")]
use high_product_of_halves as high_product;

/// The same where there is no product of 128 bits.
#[cfg(any(test, target_arch = "bpf"))]
#[inline]
const fn high_product_of_halves(a: u64, b: u64) -> u64 {
    const LOW: u64 = u32::MAX as u64;
    let (a_high, a_low, b_high, b_low) = (a >> 32, a & LOW, b >> 32, b & LOW);
    let middle = a_high * b_low + ((a_low * b_low) >> 32);
    a_high * b_high + (middle >> 32) + ((a_low * b_high + (middle & LOW)) >> 32)
}

/// Converts units to nanoseconds, cut.
pub const fn ns_of_units(units: u64) -> u64 {
    ((units as u128) * 1_000_000_000 / (UNITS_PER_SECOND as u128)) as u64
}

/// Returns the bucket that a latency counts in.
#[inline]
pub const fn bucket_of(units: u64) -> usize {
    if units <= 1 << FIRST_OCTAVE {
        return 0;
    }
    let octave = u64::BITS - 1 - units.leading_zeros();
    let mantissa = units << units.leading_zeros();
    let bucket = (octave - FIRST_OCTAVE) as usize * PER_OCTAVE + bounds_below(mantissa);
    if bucket < BUCKETS {
        bucket
    } else {
        BUCKETS - 1
    }
}

/// Returns how many bounds of an octave are below a place in it.
#[cfg(not(target_arch = "bpf"))]
const fn bounds_below(mantissa: u64) -> usize {
    // A sixteenth of an octave's straight line crosses two bounds at the most.
    let first = CROSSED[(mantissa >> 59 & 15) as usize];
    first + (mantissa > BOUNDS[first]) as usize + (mantissa > BOUNDS[first + 1]) as usize
}

#[cfg(target_arch = "bpf")]
use bounds_below_compared as bounds_below;

/// The same without looking into a table at a place that is in another one, which the kernel's verifier would not allow.
#[cfg(any(test, target_arch = "bpf"))]
#[inline]
const fn bounds_below_compared(mantissa: u64) -> usize {
    let mut below = 0;
    let mut index = 0;
    while index < PER_OCTAVE {
        below += (mantissa > BOUNDS[index]) as usize;
        index += 1;
    }
    below
}

/// Returns the largest latency of a bucket, in units; of the last one, the largest that exact buckets have.
pub const fn upper_bound(bucket: usize) -> u64 {
    let bucket = if bucket < BUCKETS - 1 {
        bucket
    } else {
        BUCKETS - 2
    };
    let octave = FIRST_OCTAVE + (bucket / PER_OCTAVE) as u32;
    BOUNDS[bucket % PER_OCTAVE] >> (63 - octave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        for bucket in 0..BUCKETS - 1 {
            let bound = upper_bound(bucket);
            assert_eq!(bucket_of(bound), bucket, "the bound of {bucket}");
            assert_eq!(
                bucket_of(bound + 1),
                bucket + 1,
                "above the bound of {bucket}"
            );
        }
        for bucket in [0, u64::MAX] {
            assert_eq!(bucket_of(bucket), if bucket == 0 { 0 } else { BUCKETS - 1 });
        }
    }

    #[test]
    fn bounds_are_powers_of_the_sixteenth_root_of_two() {
        for bucket in 0..BUCKETS - 1 {
            let exact = 2f64.powf(10.0 + bucket as f64 / 16.0);
            assert!(
                (upper_bound(bucket) as f64 - exact).abs() <= 1.0,
                "bucket {bucket}"
            );
        }
    }

    #[test]
    fn comparing_finds_the_same_bounds() {
        for bound in BOUNDS {
            for mantissa in [bound - 1, bound, bound.saturating_add(1)] {
                let mantissa = mantissa.max(1 << 63);
                assert_eq!(
                    bounds_below_compared(mantissa),
                    bounds_below(mantissa),
                    "{mantissa:#x}"
                );
            }
        }
    }

    #[test]
    fn a_product_of_halves_is_a_product() {
        let numbers = [
            0,
            1,
            999,
            u64::MAX,
            REST_PER_NS,
            1 << 32,
            0xdead_beef_0bad_cafe,
        ];
        for a in numbers {
            for b in numbers {
                assert_eq!(high_product_of_halves(a, b), high_product(a, b), "{a} {b}");
            }
        }
    }

    #[test]
    fn units_are_a_little_shorter_than_nanoseconds() {
        assert_eq!(units_of_ns(1_000_000_000), UNITS_PER_SECOND);
        assert_eq!(ns_of_units(UNITS_PER_SECOND), 1_000_000_000);
        assert_eq!(ns_of_units(units_of_ns(3_000_000)), 2_999_999);
        assert_eq!(units_of_ns(u64::MAX), u64::MAX);
        for ns in (0..7_200_000_000_000).step_by(999_999_937) {
            let exact = u128::from(ns) * u128::from(UNITS_PER_SECOND) / 1_000_000_000;
            assert_eq!(u128::from(units_of_ns(ns)), exact, "{ns} ns");
        }
    }
}
