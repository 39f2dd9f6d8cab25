//! Folds rows that differ in nothing but numbers, so that a hundred thousand alike calls are one line.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt};

use super::table::Line;
use crate::count::Count;
use crate::duration::Age;
use crate::model::{Code, Snapshot, Verdict};

/// How many ids of a fold are shown.
const SHOWN_IDS: usize = 3;

/// A row with the snapshot that it is of.
pub(super) type Placed<'a, R> = (&'a Snapshot, &'a R);

/// Rows of one process that are alike, the first of which stands for all of them.
pub(super) struct Fold<'a, R> {
    pub(super) snapshot: &'a Snapshot,
    /// At least one.
    pub(super) rows: Vec<&'a R>,
}

impl<'a, R> Fold<'a, R> {
    /// Returns the row that stands for all of them.
    pub(super) fn first(&self) -> &'a R {
        self.rows[0]
    }

    /// Returns how many rows there are, for a column that only folds use.
    pub(super) fn count(&self) -> Times {
        Times(self.rows.len())
    }

    /// Returns the youngest and the oldest age.
    pub(super) fn ages(&self, age_us: impl Fn(&R) -> u64) -> Ages {
        Ages::of(self.rows.iter().map(|row| age_us(row)))
    }

    /// Returns the ids of the first rows.
    pub(super) fn ids(&self, id: impl Fn(&R) -> u64) -> Ids {
        Ids::of(self.rows.iter().map(|row| id(row)))
    }

    /// Returns the sum of a number of all rows.
    pub(super) fn sum(&self, number: impl Fn(&R) -> u64) -> u64 {
        self.rows
            .iter()
            .fold(0, |sum, row| sum.saturating_add(number(row)))
    }

    /// Adds the verdict below the row.
    pub(super) fn note_verdict(
        &self,
        line: &mut Line,
        verdict: impl Fn(&'a R) -> Option<&'a Verdict>,
    ) {
        let Some(of_first) = verdict(self.first()) else {
            return;
        };
        let is_same = |&row| verdict(row).is_some_and(|other| other.text == of_first.text);
        let of_oldest = match self.rows.iter().all(is_same) {
            true => "",
            false => " (of the oldest)",
        };
        let Verdict { code, text, .. } = of_first;
        line.note(format_args!("↳ {code}{of_oldest}: {text}"));
    }
}

/// Folds the rows that have the same key, each fold in the place of its first row. Fewer than `at_least` stay apart;
/// without it, all do.
pub(super) fn fold<'a, R, K: Hash + Eq>(
    rows: &[Placed<'a, R>],
    at_least: Option<usize>,
    mut key: impl FnMut(&'a Snapshot, &'a R) -> K,
) -> Vec<Fold<'a, R>> {
    let apart = |&(snapshot, row): &Placed<'a, R>| Fold {
        snapshot,
        rows: vec![row],
    };
    let Some(at_least) = at_least else {
        return rows.iter().map(apart).collect();
    };
    let mut indexes: HashMap<K, usize> = HashMap::new();
    let mut folds: Vec<Fold<'a, R>> = Vec::new();
    let fold_of: Vec<usize> = rows
        .iter()
        .map(|&(snapshot, row)| {
            let index = *indexes.entry(key(snapshot, row)).or_insert_with(|| {
                let rows = Vec::new();
                folds.push(Fold { snapshot, rows });
                folds.len() - 1
            });
            folds[index].rows.push(row);
            index
        })
        .collect();
    if folds.iter().all(|fold| fold.rows.len() >= at_least) {
        return folds;
    }
    let mut folded = Vec::new();
    for (placed, index) in rows.iter().zip(fold_of) {
        let fold = &mut folds[index];
        match fold.rows.len() {
            // It was moved to the place of its first row.
            0 => {}
            count if count >= at_least => folded.push(Fold {
                snapshot: fold.snapshot,
                rows: std::mem::take(&mut fold.rows),
            }),
            _ => folded.push(apart(placed)),
        }
    }
    folded
}

/// What the texts of verdicts have in common.
#[derive(Default)]
pub(super) struct Shapes {
    hasher: RandomState,
    /// By address: rows share their texts.
    known: HashMap<*const u8, u64>,
    text: Vec<u8>,
}

impl Shapes {
    /// Returns what is the same for verdicts that differ in nothing but numbers.
    pub(super) fn verdict(&mut self, verdict: Option<&Verdict>) -> Option<(Code, u64)> {
        let verdict = verdict?;
        Some((verdict.code, self.text(&verdict.text)))
    }

    /// Returns what is the same for texts that differ in nothing but numbers.
    pub(super) fn text(&mut self, text: &str) -> u64 {
        let Self {
            hasher,
            known,
            text: buffer,
        } = self;
        *known.entry(text.as_ptr()).or_insert_with(|| {
            buffer.clear();
            let letters = text.bytes().filter(|byte| !is_of_number(*byte));
            buffer.extend(letters);
            hasher.hash_one(&*buffer)
        })
    }
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b',')
}

/// How many rows a line stands for; nothing if it is one.
pub(super) struct Times(pub(super) usize);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => Ok(()),
            rows => write!(f, "×{}", Count(rows as u64)),
        }
    }
}

/// The youngest and the oldest age, in microseconds.
pub(super) struct Ages {
    youngest_us: u64,
    oldest_us: u64,
}

impl Ages {
    pub(super) fn of(ages_us: impl Iterator<Item = u64>) -> Self {
        let none = Self {
            youngest_us: u64::MAX,
            oldest_us: 0,
        };
        ages_us.fold(none, |ages, age_us| Self {
            youngest_us: age_us.min(ages.youngest_us),
            oldest_us: age_us.max(ages.oldest_us),
        })
    }
}

impl fmt::Display for Ages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [youngest, oldest] = [self.youngest_us, self.oldest_us].map(|us| Age(us).to_string());
        match youngest == oldest {
            true => f.write_str(&oldest),
            false => write!(f, "{youngest} to {oldest}"),
        }
    }
}

/// The first of several ids.
pub(super) struct Ids {
    first: [u64; SHOWN_IDS],
    count: usize,
}

impl Ids {
    pub(super) fn of(ids: impl Iterator<Item = u64>) -> Self {
        let mut these = Self {
            first: [0; SHOWN_IDS],
            count: 0,
        };
        for id in ids {
            if let Some(first) = these.first.get_mut(these.count) {
                *first = id;
            }
            these.count += 1;
        }
        these
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, id) in self.first.iter().take(self.count).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{id}")?;
        }
        if self.count > SHOWN_IDS {
            f.write_str(", …")?;
        }
        Ok(())
    }
}
