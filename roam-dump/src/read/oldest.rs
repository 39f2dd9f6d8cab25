//! Keeps the oldest rows of a table that has more than there is room for.

/// Up to one part in so many of the rows is taken on top before the youngest are dropped.
const SPARE: usize = 8;

/// Keeps the oldest rows of all that it is given.
pub(super) struct Oldest<R> {
    rows: Vec<R>,
    room: usize,
    /// The start, then the serial: every scan keeps the same rows.
    began: fn(&R) -> (u64, u64),
    truncated: u64,
}

impl<R> Oldest<R> {
    /// Of `most` rows at the most there is room for so many.
    pub(super) fn new(most: usize, room: usize, began: fn(&R) -> (u64, u64)) -> Self {
        Self {
            rows: Vec::with_capacity(most.min(room + room / SPARE)),
            room,
            began,
            truncated: 0,
        }
    }

    pub(super) fn push(&mut self, row: R) {
        self.rows.push(row);
        // Not for every row, since each call goes through all of them.
        if self.rows.len() >= self.room + self.room / SPARE {
            self.drop_youngest();
        }
    }

    fn drop_youngest(&mut self) {
        if self.rows.len() > self.room {
            self.rows.select_nth_unstable_by_key(self.room, self.began);
            self.truncated += (self.rows.len() - self.room) as u64;
            self.rows.truncate(self.room);
        }
    }

    /// The oldest rows, in no order, and the number of rows that were dropped.
    pub(super) fn finish(mut self) -> (Vec<R>, u64) {
        self.drop_youngest();
        self.rows.shrink_to_fit();
        (self.rows, self.truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(room: usize, rows: &[u64], expected: &[u64], truncated: u64) {
        let mut oldest = Oldest::new(rows.len(), room, |row| (*row, 0));
        rows.iter().for_each(|row| oldest.push(*row));
        let (mut rows, dropped) = oldest.finish();
        rows.sort_unstable();
        assert_eq!((&*rows, dropped), (expected, truncated));
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
