//! Several measurements of the same thing, as one line.

use std::fmt;

/// Repetitions that every bench makes at least.
pub(super) const RUNS: usize = 15;

/// The lowest, the middle and the highest of some measurements.
#[derive(Debug, PartialEq)]
pub(super) struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    /// Of at least one measurement.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            min: values[0],
            median: values[values.len() / 2],
            max: values[values.len() - 1],
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(2);
        let Self { min, median, max } = self;
        write!(
            f,
            "{median:.precision$} (from {min:.precision$} to {max:.precision$})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn names_the_middle_and_the_ends() {
        assert_eq!(
            format!("{:.1}", Spread::of(vec![3.0, 1.0, 2.0])),
            "2.0 (from 1.0 to 3.0)"
        );
        assert_eq!(
            Spread::of(vec![1.5]).to_string(),
            "1.50 (from 1.50 to 1.50)"
        );
    }
}
