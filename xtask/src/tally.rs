//! Counts tests: the one currency of every task that tests.

use std::fmt;
use std::ops::AddAssign;

/// Tests that passed and tests that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// One test.
    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: passed.into(),
            failed: (!passed).into(),
        }
    }

    /// What a task printed as its last line.
    pub(crate) fn closing(output: &str) -> Option<Self> {
        let line = output.trim_end().lines().next_back()?;
        let (passed, failed) = line.strip_suffix(" failed")?.split_once(" passed, ")?;
        Some(Self {
            passed: passed.parse().ok()?,
            failed: failed.parse().ok()?,
        })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_closing_line_is_read_as_it_is_written() {
        let tally = Tally {
            passed: 12,
            failed: 3,
        };
        assert_eq!(
            Tally::closing(&format!("1 passed, 0 failed\n{tally}\n")),
            Some(tally)
        );
        assert_eq!(Tally::closing("12 passed, 3 failed, 4 s"), None);
        assert_eq!(Tally::closing(""), None);
    }
}
