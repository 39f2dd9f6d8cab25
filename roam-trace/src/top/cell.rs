//! The cells of a table: what they are sorted by, and how they read.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use humansize::{DECIMAL, format_size};
use roam_dump::duration::Took;
use roam_dump::model::Verdict;
use roam_dump::render::Age;
use roam_trace_common::event::Direction;

/// A cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// What is not known, or does not apply.
    None,
    Text(Arc<str>),
    Count(u64),
    PerSecond(f64),
    BytesPerSecond(f64),
    /// Microseconds since something happened.
    Age(u64),
    /// Microseconds that a call took.
    Took(u64),
    /// A part of 100.
    Percent(f64),
}

impl Cell {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// `of` a value, if there is one.
    pub(super) fn some<T>(value: Option<T>, of: fn(T) -> Self) -> Self {
        value.map_or(Self::None, of)
    }

    /// The code of a verdict.
    pub(super) fn verdict(verdict: Option<&Verdict>) -> Self {
        Self::some(verdict, |verdict| Self::text(verdict.code.name()))
    }

    /// A method with the direction of its calls.
    pub(super) fn method(direction: Direction, method: &str) -> Self {
        let arrow = match direction {
            Direction::Outgoing => "→",
            Direction::Incoming => "←",
        };
        Self::text(format!("{arrow} {method}"))
    }

    /// What two cells of one column are sorted by. What is not known comes before everything that is.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.number().total_cmp(&other.number()),
        }
    }

    fn number(&self) -> f64 {
        match *self {
            Self::None => -1.0,
            // A column of texts has no numbers.
            Self::Text(_) => 0.0,
            Self::Count(count) => count as f64,
            Self::Age(us) | Self::Took(us) => us as f64,
            Self::PerSecond(value) | Self::BytesPerSecond(value) | Self::Percent(value) => value,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::Text(text) => f.write_str(text),
            Self::Count(count) => count.fmt(f),
            Self::PerSecond(rate) if *rate < 1_000.0 => write!(f, "{rate:.1}"),
            Self::PerSecond(rate) => write!(f, "{rate:.0}"),
            Self::BytesPerSecond(rate) => {
                f.write_str(&format_size(*rate as u64, DECIMAL.decimal_places(1)))
            }
            Self::Age(us) => Age(*us).fmt(f),
            Self::Took(us) => Took(*us).fmt(f),
            Self::Percent(percent) => write!(f, "{percent:.0}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_read_as_people_expect() {
        let cells = [
            Cell::None,
            Cell::Count(123_456),
            Cell::PerSecond(0.25),
            Cell::PerSecond(103_204.7),
            Cell::BytesPerSecond(1_260_000.0),
            Cell::Age(12_800_000),
            Cell::Took(331),
            Cell::Percent(95.2),
        ];
        let text = cells.map(|cell| cell.to_string());
        let expected = [
            "-", "123456", "0.2", "103205", "1.3 MB", "12.8s", "331 us", "95%",
        ];
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_not_known_is_below_nothing() {
        let compare = |a: &Cell, b: &Cell| a.compare(b);
        assert_eq!(compare(&Cell::None, &Cell::Count(0)), Ordering::Less);
        assert_eq!(compare(&Cell::Took(9), &Cell::Took(10)), Ordering::Less);
        let (a, b) = (Cell::text("a"), Cell::text("b"));
        assert_eq!(compare(&b, &a), Ordering::Greater);
        // Sorting by an order that is none panics.
        assert_eq!(compare(&Cell::None, &a), Ordering::Less);
        assert_eq!(compare(&a, &Cell::None), Ordering::Greater);
        assert_eq!(compare(&Cell::None, &Cell::None), Ordering::Equal);
    }
}
