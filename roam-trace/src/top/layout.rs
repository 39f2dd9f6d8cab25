//! Which columns of a table fit, and how wide they are.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns of the terminal between two columns of a table.
const GAP: usize = 2;
/// What text has at the least, unless it is shorter.
const TEXT: usize = 20;
/// The same if there are only two columns.
const LEAST: usize = 6;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) side: Side,
    /// Which columns are left out first if there is no room for all: those with the highest rank.
    pub(super) rank: u8,
}

/// Where a cell stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Text, which may be cut.
    Left,
    /// Numbers, which may not.
    Right,
}

impl Column {
    /// A column of text.
    pub(super) const fn left(title: &'static str, rank: u8) -> Self {
        let side = Side::Left;
        Self { title, side, rank }
    }

    /// A column of numbers.
    pub(super) const fn right(title: &'static str, rank: u8) -> Self {
        let side = Side::Right;
        Self { title, side, rank }
    }

    pub(super) fn is_number(&self) -> bool {
        self.side == Side::Right
    }
}

/// A column that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its index.
    pub(super) column: usize,
    pub(super) x: usize,
    pub(super) width: usize,
}

/// Places the columns, of which each has cells of up to that width, and leaves out those that do not fit. Text gets what
/// numbers leave, the last column first.
pub(super) fn place(columns: &[Column], widths: &[usize], width: usize) -> Vec<Placed> {
    let least = |column: usize, count: usize| match columns[column].side {
        Side::Left if count <= 2 => widths[column].min(LEAST),
        Side::Left => widths[column].min(TEXT),
        Side::Right => widths[column],
    };
    let mut shown: Vec<usize> = (0..columns.len())
        .filter(|&column| widths[column] > 0)
        .collect();
    let needed = |shown: &[usize]| {
        let least = shown.iter().map(|&column| least(column, shown.len()));
        least.sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    while shown.len() > 1 && needed(&shown) > width {
        let worst = (0..shown.len()).max_by_key(|&index| columns[shown[index]].rank);
        shown.remove(worst.unwrap_or_default());
    }
    let mut left = width.saturating_sub(needed(&shown));
    let mut given: Vec<usize> = (shown.iter())
        .map(|&column| least(column, shown.len()))
        .collect();
    for (given, &column) in given.iter_mut().zip(&shown).rev() {
        let more = (widths[column] - *given).min(left);
        *given += more;
        left -= more;
    }
    let mut x = 0;
    let mut placed = Vec::new();
    for (&column, given) in shown.iter().zip(given) {
        let width = given.min(width.saturating_sub(x));
        placed.push(Placed { column, x, width });
        x += width + GAP;
    }
    placed
}

/// Cuts a text at so many columns of the terminal, and says so by an ellipsis.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > columns {
            break;
        }
        cut.push(character);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::right("RATE/S", 1),
        Column::right("P50", 3),
        Column::left("PROCESS", 2),
        Column::left("METHOD", 0),
    ];

    /// Which columns are shown, and how wide.
    fn check(width: usize, expected: &[(&str, usize)]) {
        let placed = place(&COLUMNS, &[8, 6, 15, 30], width);
        let titles: Vec<_> = (placed.iter())
            .map(|placed| (COLUMNS[placed.column].title, placed.width))
            .collect();
        assert_eq!(titles, expected, "{width}");
        let end = placed.last().map_or(0, |last| last.x + last.width);
        assert!(end <= width, "{width}");
    }

    #[test]
    fn columns_are_left_out_by_rank() {
        let all = [("RATE/S", 8), ("P50", 6), ("PROCESS", 15), ("METHOD", 30)];
        check(100, &all);
        check(65, &all);
        check(
            62,
            &[("RATE/S", 8), ("P50", 6), ("PROCESS", 15), ("METHOD", 27)],
        );
        check(
            55,
            &[("RATE/S", 8), ("P50", 6), ("PROCESS", 15), ("METHOD", 20)],
        );
        check(54, &[("RATE/S", 8), ("PROCESS", 15), ("METHOD", 27)]);
        check(46, &[("RATE/S", 8), ("METHOD", 30)]);
        check(20, &[("RATE/S", 8), ("METHOD", 10)]);
        check(15, &[("METHOD", 15)]);
        check(3, &[("METHOD", 3)]);
        check(0, &[("METHOD", 0)]);
    }

    #[test]
    fn texts_are_cut_by_their_width() {
        assert_eq!(cut("Http.get", 8), "Http.get");
        assert_eq!(cut("Http.get", 7), "Http.g…");
        assert_eq!(cut("数据.读取", 6), "数据.…");
        assert_eq!(cut("数据.读取", 4), "数…");
        assert_eq!(cut("ab", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }
}
