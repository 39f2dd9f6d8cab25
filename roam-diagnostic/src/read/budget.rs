//! How much of a registry is read and kept. Whoever writes one may claim, and have, more than a reader has
//! memory and time for.

use std::collections::BinaryHeap;

use roam_trace_common::limits;

/// What may still be read and kept. Registries of one process share one.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Rows and names that are kept. Of requests and channels, the oldest.
    pub rows: usize,
    /// Rows of connections among them.
    pub connections: usize,
    /// Rows of channels among them.
    pub channels: usize,
    /// Names among them.
    pub names: usize,
    /// Requests of which the arguments are kept.
    pub arguments: usize,
    /// Slots that are looked at.
    pub slots: usize,
    /// Rows that are looked at again because they changed meanwhile.
    pub retries: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            rows: limits::SHOWN_ROWS,
            connections: limits::CONNECTIONS as usize,
            channels: limits::SHOWN_CHANNELS,
            names: (limits::METHODS + limits::TYPES) as usize,
            arguments: limits::SHOWN_ARGUMENTS,
            slots: limits::READ_SLOTS,
            retries: limits::READ_RETRIES,
        }
    }
}

impl Budget {
    /// The part of one of several that are read.
    pub fn of_one_in(count: usize) -> Self {
        let part = |whole: usize| whole / count.max(1);
        let whole = Self::default();
        Self {
            rows: part(whole.rows),
            connections: part(whole.connections),
            channels: part(whole.channels),
            names: part(whole.names),
            arguments: part(whole.arguments),
            slots: part(whole.slots),
            retries: part(whole.retries),
        }
    }
}

/// What there was besides what was kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Rows of connections.
    pub connections: u64,
    /// Rows of requests, younger ones.
    pub requests: u64,
    /// Rows of channels, younger ones.
    pub channels: u64,
    /// Names.
    pub names: u64,
    /// Requests of which the arguments were.
    pub arguments: u64,
    /// Slots that were not looked at.
    pub slots: u64,
}

impl LeftOut {
    /// Whether everything was kept.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Keeps the oldest rows of all that it is given.
pub(super) struct Oldest<R> {
    rows: Vec<R>,
    room: usize,
    /// Once there is no room: the rows by when they began, youngest first.
    youngest: BinaryHeap<(u64, usize)>,
    began_ns: fn(&R) -> u64,
    left_out: u64,
}

impl<R> Oldest<R> {
    pub(super) fn new(room: usize, began_ns: fn(&R) -> u64) -> Self {
        Self {
            rows: Vec::new(),
            room,
            youngest: BinaryHeap::new(),
            began_ns,
            left_out: 0,
        }
    }

    pub(super) fn push(&mut self, row: R) {
        if self.rows.len() < self.room {
            self.rows.push(row);
            return;
        }
        self.left_out += 1;
        if self.youngest.is_empty() {
            let began = |(index, row)| ((self.began_ns)(row), index);
            self.youngest = self.rows.iter().enumerate().map(began).collect();
        }
        let began_ns = (self.began_ns)(&row);
        if let Some(mut youngest) = self.youngest.peek_mut()
            && began_ns < youngest.0
        {
            self.rows[youngest.1] = row;
            youngest.0 = began_ns;
        }
    }

    /// The rows that were kept, in no order, and how many were not.
    pub(super) fn finish(self) -> (Vec<R>, u64) {
        (self.rows, self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(room: usize, rows: &[u64], kept: &[u64], left_out: u64) {
        let mut oldest = Oldest::new(room, |row| *row);
        rows.iter().for_each(|row| oldest.push(*row));
        let (mut rows, left) = oldest.finish();
        rows.sort_unstable();
        assert_eq!((&*rows, left), (kept, left_out));
    }

    #[test]
    fn the_oldest_are_kept() {
        check(3, &[], &[], 0);
        check(3, &[5, 1, 3], &[1, 3, 5], 0);
        check(3, &[9, 8, 7, 6, 5, 4], &[4, 5, 6], 3);
        check(3, &[1, 2, 3, 4, 5], &[1, 2, 3], 2);
        check(3, &[4, 4, 4, 4, 1], &[1, 4, 4], 2);
        check(0, &[1, 2], &[], 2);
    }
}
