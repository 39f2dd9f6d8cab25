//! How long something has lasted, for people.

use std::fmt;

/// Microseconds, as a person reads them.
#[derive(Debug)]
pub struct Age(pub u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        match seconds {
            0..600 => write!(f, "{}.{}s", seconds, self.0 % 1_000_000 / 100_000),
            600..36_000 => write!(f, "{}m {:02}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        }
    }
}

/// Microseconds since something happened, as a person reads them.
pub(crate) struct Ago(pub(crate) u64);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..100_000 => f.write_str("just now"),
            us => write!(f, "{} ago", Age(us)),
        }
    }
}

/// Microseconds that a call took, as a person reads them.
#[derive(Debug, Clone, Copy)]
pub struct Took(pub u64);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ 0..1_000 => write!(f, "{us} us"),
            us @ 1_000..10_000 => write!(f, "{}.{} ms", us / 1_000, us % 1_000 / 100),
            us @ 10_000..1_000_000 => write!(f, "{} ms", us / 1_000),
            us => Age(us).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Took;

    #[test]
    fn a_time_has_the_unit_that_fits() {
        let text = [7, 999, 1_000, 9_999, 12_345, 1_500_000].map(|us| Took(us).to_string());
        assert_eq!(
            text,
            ["7 us", "999 us", "1.0 ms", "9.9 ms", "12 ms", "1.5s"]
        );
    }
}
