//! Counts tests: the one currency of every judge. Knows cargo's `test result` line, nothing else.

use std::fmt;
use std::ops::AddAssign;

/// Tests that passed and tests that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// Sums cargo's `test result: ok. 12 passed; 0 failed; ...` lines.
    pub(crate) fn of_cargo_test(output: &str) -> Self {
        let mut sum = Self::default();
        for result in output
            .lines()
            .filter_map(|line| line.split_once("test result: "))
        {
            sum.passed += number_before(result.1, " passed");
            sum.failed += number_before(result.1, " failed");
        }
        sum
    }

    /// One test.
    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: passed.into(),
            failed: (!passed).into(),
        }
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

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn check(output: &str, passed: u64, failed: u64) {
        assert_eq!(Tally::of_cargo_test(output), Tally { passed, failed });
    }

    #[test]
    fn sums_every_result_line() {
        check("", 0, 0);
        check("running 3 tests\n12 passed; 4 failed", 0, 0);
        check(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured",
            12,
            0,
        );
        check(
            "test result: FAILED. 7 passed; 2 failed; 0 ignored\nx\ntest result: ok. 5 passed; 0 failed;",
            12,
            2,
        );
    }
}
