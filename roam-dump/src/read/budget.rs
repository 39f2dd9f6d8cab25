//! How much of a registry is read and kept. Whoever writes one may claim, and have, more than a reader has
//! memory and time for.

use roam_trace_common::limits;
use roam_trace_common::registry::{FLAG_ARGUMENTS, HeaderRecord, Table};

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
            rows: limits::SHOWN_ROWS as usize,
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
    const PARTS: [fn(&mut Self) -> &mut usize; 7] = [
        |budget| &mut budget.rows,
        |budget| &mut budget.connections,
        |budget| &mut budget.channels,
        |budget| &mut budget.names,
        |budget| &mut budget.arguments,
        |budget| &mut budget.slots,
        |budget| &mut budget.retries,
    ];

    /// The budget of so many rows, all else in proportion, though no less than by default.
    pub fn of_rows(rows: u32) -> Self {
        let mut budget = Self::default();
        let times = rows.div_ceil(limits::SHOWN_ROWS).max(1) as usize;
        for part in Self::PARTS {
            *part(&mut budget) *= times;
        }
        Self {
            rows: rows as usize,
            ..budget
        }
    }

    /// What registries with such headers take, and some more: they are read later.
    pub fn need(headers: &[HeaderRecord]) -> Self {
        const MORE: usize = 64;
        let slots = |header: &HeaderRecord, table| {
            let used = header.tables[table as usize].high_water as usize;
            used + used / 8 + MORE
        };
        let used = |table| headers.iter().map(|header| slots(header, table)).sum();
        let [requests, connections, channels, methods, types]: [usize; 5] = [
            Table::Requests,
            Table::Connections,
            Table::Channels,
            Table::Methods,
            Table::Types,
        ]
        .map(used);
        let with_arguments = headers
            .iter()
            .filter(|header| header.flags & FLAG_ARGUMENTS != 0);
        Self {
            rows: requests + connections + channels + methods + types,
            connections,
            channels,
            names: methods + types,
            arguments: with_arguments
                .map(|header| slots(header, Table::Requests))
                .sum(),
            // Connections are looked at twice.
            slots: requests + 2 * connections + channels,
            retries: requests + 2 * connections + channels,
        }
    }

    /// Divides it among several that need so much. Who needs less than an equal part gets that, and what is left
    /// goes to the others; what nobody needs, which may have changed since, is divided too.
    pub fn divide(mut self, needs: &[Self]) -> Vec<Self> {
        let mut shares = needs.to_vec();
        for part in Self::PARTS {
            let mut by_need: Vec<_> = shares.iter_mut().map(part).collect();
            by_need.sort_unstable();
            let mut left = *part(&mut self);
            for (done, share) in by_need.iter_mut().enumerate() {
                let equal = left / (needs.len() - done);
                **share = equal.min(**share);
                left -= **share;
            }
            for share in by_need {
                *share += left / needs.len();
            }
        }
        shares
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
    /// Slots that were not looked at, or not once more where they changed meanwhile.
    pub slots: u64,
}

impl LeftOut {
    /// Whether everything was kept.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// One part in so many of the rows that are kept: as much more is taken before the youngest are dropped.
const SPARE: usize = 8;

/// Keeps the oldest rows of all that it is given.
pub(super) struct Oldest<R> {
    rows: Vec<R>,
    room: usize,
    /// When, and then the serial: what is kept is the same at every look.
    began: fn(&R) -> (u64, u64),
    left_out: u64,
}

impl<R> Oldest<R> {
    /// Of `most` rows at the most there is room for so many.
    pub(super) fn new(most: usize, room: usize, began: fn(&R) -> (u64, u64)) -> Self {
        Self {
            rows: Vec::with_capacity(most.min(room + room / SPARE)),
            room,
            began,
            left_out: 0,
        }
    }

    pub(super) fn push(&mut self, row: R) {
        self.rows.push(row);
        // Not for every row: it looks at all of them.
        if self.rows.len() >= self.room + self.room / SPARE {
            self.drop_youngest();
        }
    }

    fn drop_youngest(&mut self) {
        if self.rows.len() > self.room {
            self.rows.select_nth_unstable_by_key(self.room, self.began);
            self.left_out += (self.rows.len() - self.room) as u64;
            self.rows.truncate(self.room);
        }
    }

    /// The rows that were kept, in no order, and how many were not.
    pub(super) fn finish(mut self) -> (Vec<R>, u64) {
        self.drop_youngest();
        self.rows.shrink_to_fit();
        (self.rows, self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(room: usize, rows: &[u64], kept: &[u64], left_out: u64) {
        let mut oldest = Oldest::new(rows.len(), room, |row| (*row, 0));
        rows.iter().for_each(|row| oldest.push(*row));
        let (mut rows, left) = oldest.finish();
        rows.sort_unstable();
        assert_eq!((&*rows, left), (kept, left_out));
    }

    fn check_division(rows: usize, needs: &[usize], shares: &[usize]) {
        let [whole, needs] = [&[rows][..], needs].map(|rows| {
            let of = |&rows| Budget {
                rows,
                ..Budget::default()
            };
            rows.iter().map(of).collect::<Vec<_>>()
        });
        let divided = whole[0].divide(&needs);
        let rows: Vec<_> = divided.iter().map(|share| share.rows).collect();
        assert_eq!(rows, shares);
    }

    #[test]
    fn who_needs_little_gets_it_and_the_others_the_rest() {
        check_division(100, &[], &[]);
        check_division(100, &[1_000], &[100]);
        check_division(100, &[10], &[100]);
        check_division(100, &[60, 10], &[75, 25]);
        check_division(100, &[90, 10], &[90, 10]);
        check_division(100, &[1_000, 10, 1_000], &[45, 10, 45]);
        check_division(100, &[usize::MAX, usize::MAX], &[50, 50]);
        check_division(2, &[5, 5, 5], &[0, 1, 1]);
    }

    #[test]
    fn more_rows_have_more_of_all_else() {
        let whole = Budget::default();
        assert_eq!(Budget::of_rows(10).slots, whole.slots);
        assert_eq!(
            Budget::of_rows(3 * limits::SHOWN_ROWS).slots,
            3 * whole.slots
        );
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
