//! What the cells of several tables have in common.

use std::borrow::Cow;
use std::fmt;

use super::layout::Level;
use crate::model::{Code, Snapshot, Source, Verdict, Window};

/// Returns how bad a row with that verdict is.
pub(super) fn level(verdict: Option<&Verdict>) -> Level {
    match verdict.map(|verdict| verdict.code) {
        None => Level::Plain,
        Some(Code::Usual) => Level::Slow,
        Some(_) => Level::Stuck,
    }
}

/// Returns the name of the connection of a row, or its serial if it has none.
pub(super) fn connection_name(name: Option<&str>, serial: u64) -> Cow<'_, str> {
    match (name, serial) {
        (Some(name), _) => name.into(),
        (None, 0) => "(unknown)".into(),
        (None, serial) => format!("connection {serial}").into(),
    }
}

/// Returns where a row comes from, unless all of the snapshot comes from there. A row that began in the window and that
/// no probe saw is newer than the reading of the kernel maps.
pub(super) fn only_source(row: Source, age_us: u64, snapshot: &Snapshot) -> Option<Source> {
    let is_in = |window: &Window| age_us < window.duration_us;
    let is_newer = row == Source::Registry && snapshot.window.as_ref().is_some_and(is_in);
    (row != snapshot.source && !is_newer).then_some(row)
}

/// The source of rows that are from no other.
pub(super) struct Only(pub(super) Option<Source>);

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(source) => write!(f, "{source} only"),
            None => Ok(()),
        }
    }
}

/// A number of bytes, as a person reads it.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = humansize::DECIMAL.decimal_places(1);
        match self.0 {
            bytes @ 0..1_000 => write!(f, "{bytes} B"),
            bytes => fmt::Display::fmt(&humansize::SizeFormatter::new(bytes, options), f),
        }
    }
}
