//! A set of channel ids that takes room for its gaps and not for its ids.

use std::ops::Range;

use foldhash::HashMap;

use crate::ChannelId;

/// Channel ids, of which nearly all get into the set in the end.
///
/// Ids of one parity stand side by side, since each end of a link hands out every second one. 64 of them share
/// a word; full words are stored as runs.
#[derive(Default)]
pub(crate) struct ChannelIdSet {
    /// The runs, in ascending order and apart.
    full: Vec<Range<u64>>,
    partial: HashMap<u64, u64>,
}

impl ChannelIdSet {
    pub(crate) fn contains(&self, id: ChannelId) -> bool {
        let (word, bit) = word_and_bit(id);
        let in_partial = self.partial.get(&word).is_some_and(|bits| bits & bit != 0);
        in_partial || self.is_full(word)
    }

    pub(crate) fn insert(&mut self, id: ChannelId) {
        let (word, bit) = word_and_bit(id);
        if self.is_full(word) {
            return;
        }
        let bits = self.partial.entry(word).or_default();
        *bits |= bit;
        if *bits == u64::MAX {
            self.partial.remove(&word);
            self.add_full(word);
        }
    }

    /// What the set takes room for.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        self.full.len() + self.partial.len()
    }

    fn is_full(&self, word: u64) -> bool {
        let runs = &self.full[..self.runs_up_to(word)];
        runs.last().is_some_and(|run| run.contains(&word))
    }

    fn add_full(&mut self, word: u64) {
        let at = self.runs_up_to(word);
        let follows_a_run = at > 0 && self.full[at - 1].end == word;
        let precedes_a_run = self.full.get(at).is_some_and(|run| run.start == word + 1);
        match (follows_a_run, precedes_a_run) {
            (true, true) => self.full[at - 1].end = self.full.remove(at).end,
            (true, false) => self.full[at - 1].end = word + 1,
            (false, true) => self.full[at].start = word,
            (false, false) => self.full.insert(at, word..word + 1),
        }
    }

    /// How many runs start at `word` or before.
    fn runs_up_to(&self, word: u64) -> usize {
        self.full.partition_point(|run| run.start <= word)
    }
}

/// The word that an id is in, and its bit there.
fn word_and_bit(id: ChannelId) -> (u64, u64) {
    let position = id.rotate_right(1);
    (position / 64, 1 << (position % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[track_caller]
    fn check(ids: impl Iterator<Item = ChannelId>, entries_at_most: usize) {
        let mut set = ChannelIdSet::default();
        let mut model = HashSet::new();
        for id in ids {
            set.insert(id);
            model.insert(id);
        }
        let around = |&id: &ChannelId| [id.wrapping_sub(1), id, id.wrapping_add(1)];
        for id in model.iter().flat_map(around) {
            assert_eq!(set.contains(id), model.contains(&id), "{id}");
        }
        assert!(set.entries() <= entries_at_most, "{}", set.entries());
    }

    #[test]
    fn it_holds_what_was_inserted() {
        check([0, 1, u64::MAX, u64::MAX - 1, 1].into_iter(), 4);
        // Scattered, with every id of a short range hit sooner or later.
        check((0..4_000).map(|n: u64| n * n % 1_999), 40);
        check(
            (0..2_000).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            2_000,
        );
    }

    #[test]
    fn runs_grow_together_from_both_sides() {
        let word = |word: u64| (0..64).map(move |id| (word * 64 + id) * 2 + 1);
        let order = [2, 0, 1, 4, 3];
        check(order.into_iter().flat_map(word), 1);
    }

    #[test]
    fn it_takes_no_room_for_ids_in_a_row() {
        let odd = (0..100_000).map(|n| 2 * n + 1);
        let both = 1..200_000;
        check(odd.clone(), 2);
        check(both, 5);
        // One that stays out costs one word, and one run more.
        check(odd.filter(|&id| id != 77_777), 4);
    }

    #[test]
    fn every_second_id_takes_two_bits() {
        check((0..64_000).map(|n| 4 * n + 1), 2_000);
    }
}
