//! Rows in columns that fit the width of the output, with notes below each row. Where there is too little room, the last
//! columns stand below their rows.
//!
//! Rows are written twice, first to measure the columns: there may be a hundred thousand, and they are not kept.

use std::fmt::{self, Write as _};
use std::io;

use textwrap::core::display_width;

pub use super::layout::Level;
use super::layout::{Indent, Options, paragraph, wrapped};

/// Columns between two cells.
const GAP: usize = 2;
/// Columns in front of a row.
const INDENT: usize = 2;
/// Columns of a word from which on it may be broken.
const MAX_WORD: usize = 32;
/// Columns of a text up to which it is not wrapped.
const SHORT_TEXT: usize = 14;

const NOTE: Indent<'_> = Indent {
    first: "    ",
    next: "      ",
};

/// A column: its title, and where its cells stand.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    is_right: bool,
    is_wrapped: bool,
}

impl Column {
    /// A column of text.
    pub const fn left(title: &'static str) -> Self {
        Self {
            title,
            is_right: false,
            is_wrapped: true,
        }
    }

    /// A column of names, which are not wrapped.
    pub const fn names(title: &'static str) -> Self {
        Self {
            title,
            is_right: false,
            is_wrapped: false,
        }
    }

    /// A column of numbers.
    pub const fn right(title: &'static str) -> Self {
        Self {
            title,
            is_right: true,
            is_wrapped: true,
        }
    }
}

/// A row as it is written: a cell for each column, in their order.
#[derive(Debug, Default)]
pub struct Line {
    cells: Vec<String>,
    used: usize,
    notes: Vec<String>,
    /// How bad the row is.
    pub level: Level,
}

impl Line {
    /// Adds the next cell.
    pub fn cell(&mut self, text: impl fmt::Display) {
        if self.used == self.cells.len() {
            self.cells.push(String::new());
        }
        let cell = &mut self.cells[self.used];
        // Writing to memory does not fail.
        let _ = write!(cell, "{text}");
        self.used += 1;
    }

    /// Adds a text below the row.
    pub fn note(&mut self, text: impl fmt::Display) {
        self.notes.push(text.to_string());
    }

    fn clear(&mut self) {
        self.cells.iter_mut().for_each(String::clear);
        self.used = 0;
        self.notes.clear();
        self.level = Level::Plain;
    }
}

/// Writes the rows in columns; if there are none, `none`. Columns without content are left out.
///
/// # Errors
///
/// The error of the writer.
pub fn table<R>(
    out: &mut impl io::Write,
    options: &Options,
    columns: &[Column],
    rows: &[R],
    none: &str,
    fill: impl Fn(&R, &mut Line),
) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "  {none}");
    }
    let mut line = Line::default();
    let mut widths = vec![Width::default(); columns.len()];
    for row in rows {
        line.clear();
        fill(row, &mut line);
        for ((width, column), cell) in widths.iter_mut().zip(columns).zip(&line.cells) {
            width.measure(column, cell);
        }
    }
    for (width, column) in widths.iter_mut().zip(columns) {
        if width.text > 0 {
            width.measure(column, column.title);
        }
    }
    fit(&mut widths, options.width.saturating_sub(INDENT));
    let layout = Layout {
        columns,
        widths: &widths,
    };
    line.clear();
    columns.iter().for_each(|column| line.cell(column.title));
    let title = options.title();
    let mut text = String::new();
    layout.push(&mut text, &line.cells);
    for text in text.lines() {
        writeln!(out, "  {title}{text}{title:#}")?;
    }
    for row in rows {
        line.clear();
        fill(row, &mut line);
        text.clear();
        layout.push(&mut text, &line.cells);
        let style = options.level(line.level);
        for text in text.lines() {
            writeln!(out, "  {style}{text}{style:#}")?;
        }
        text.clear();
        layout.push_below(&mut text, &line.cells);
        let below = Some(&text).filter(|text| !text.is_empty());
        for note in below.into_iter().chain(&line.notes) {
            paragraph(out, options, NOTE, Level::Plain, note)?;
        }
    }
    Ok(())
}

/// What the cells of a column need.
#[derive(Debug, Clone, Copy, Default)]
struct Width {
    /// Columns of the longest text; of the cells, once they fit.
    text: usize,
    /// Columns that the cells need at least: those of the longest word, and of short texts.
    least: usize,
    /// Whether the cells stand below their rows.
    is_below: bool,
}

impl Width {
    fn measure(&mut self, column: &Column, cell: &str) {
        let text = display_width(cell);
        self.text = text.max(self.text);
        if text > self.least {
            let longest = match column.is_wrapped {
                true => cell.split(' ').map(display_width).max().unwrap_or(0),
                false => text,
            };
            let least = longest.min(MAX_WORD).max(text.min(SHORT_TEXT));
            self.least = least.max(self.least);
        }
    }

    fn is_beside(&self) -> bool {
        self.text > 0 && !self.is_below
    }
}

/// Moves columns below the rows, from the last one on, until the others have what they need at least, and then wraps the longest cells.
fn fit(widths: &mut [Width], room: usize) {
    loop {
        let beside = widths.iter().filter(|width| width.is_beside());
        let (count, least) = beside.fold((0, 0), |(count, least), width| {
            (count + 1, least + GAP + width.least)
        });
        let last = widths.iter_mut().rev().find(|width| width.is_beside());
        match last {
            Some(last) if least > room + GAP && count > 1 => last.is_below = true,
            _ => break,
        }
    }
    let beside = || widths.iter().filter(|width| width.is_beside());
    let mut total: usize = beside().map(|width| GAP + width.text).sum();
    while total > room + GAP
        && let Some(widest) = (widths.iter_mut())
            .filter(|width| width.is_beside() && width.text > width.least)
            .max_by_key(|width| width.text)
    {
        widest.text -= 1;
        total -= 1;
    }
}

struct Layout<'a> {
    columns: &'a [Column],
    widths: &'a [Width],
}

impl Layout<'_> {
    /// Appends the lines of a row: several if a cell has more text than room.
    fn push(&self, text: &mut String, cells: &[String]) {
        let columns = self.columns.iter().zip(self.widths).zip(cells);
        let columns: Vec<_> = columns
            .filter(|((_, width), _)| width.is_beside())
            .map(|((column, width), cell)| {
                let lines = match display_width(cell) <= width.text {
                    true => vec![cell.into()],
                    false => wrapped(cell, width.text),
                };
                (column, width.text, lines)
            })
            .collect();
        let height = columns.iter().map(|(.., lines)| lines.len()).max();
        for index in 0..height.unwrap_or(0) {
            let start = text.len();
            for (column, width, lines) in &columns {
                if text.len() > start {
                    push_spaces(text, GAP);
                }
                let cell = lines.get(index).map_or("", |cell| cell.as_ref());
                let space = width.saturating_sub(display_width(cell));
                let (before, after) = if column.is_right {
                    (space, 0)
                } else {
                    (0, space)
                };
                push_spaces(text, before);
                text.push_str(cell);
                push_spaces(text, after);
            }
            text.truncate(text.trim_end().len().max(start));
            text.push('\n');
        }
    }

    /// Appends the cells that stand below their row, with their titles.
    fn push_below(&self, text: &mut String, cells: &[String]) {
        let columns = self.columns.iter().zip(self.widths).zip(cells);
        for ((column, _), cell) in columns.filter(|((_, width), _)| width.is_below) {
            if !cell.is_empty() {
                let separator = if text.is_empty() { "" } else { " · " };
                let title = column.title.to_ascii_lowercase();
                // Writing to memory does not fail.
                let _ = write!(text, "{separator}{title} {cell}");
            }
        }
    }
}

fn push_spaces(text: &mut String, columns: usize) {
    text.extend(std::iter::repeat_n(' ', columns));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[[&str; 3]], width: usize, expected: &[&str]) {
        let columns = [
            Column::left("NAME"),
            Column::right("AGE"),
            Column::left("LINK"),
        ];
        let options = Options {
            width,
            ..Options::plain()
        };
        let mut out = Vec::new();
        table(&mut out, &options, &columns, rows, "(none)", |row, line| {
            row.iter().for_each(|cell| line.cell(cell));
        })
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn cells_stand_below_each_other() {
        check(
            &[["a.b", "1.0s", "x"], ["a.long", "10m 01s", ""]],
            80,
            &[
                "  NAME        AGE  LINK",
                "  a.b        1.0s  x",
                "  a.long  10m 01s",
            ],
        );
    }

    #[test]
    fn characters_that_take_two_columns_or_none_keep_the_columns() {
        check(
            &[["数据.读", "1s", "x"], ["e\u{301}.a", "12s", "y"]],
            80,
            &[
                "  NAME     AGE  LINK",
                "  数据.读   1s  x",
                "  e\u{301}.a      12s  y",
            ],
        );
    }

    #[test]
    fn what_is_too_long_is_wrapped_in_its_cell() {
        check(
            &[["call(one two three)", "1s", "数数数"]],
            30,
            &[
                "  NAME             AGE  LINK",
                "  call(one two      1s  数数数",
                "  three)",
            ],
        );
    }

    #[test]
    fn a_column_whose_words_do_not_fit_stands_below_its_rows() {
        check(
            &[
                ["call(one two three)", "1s", "数数数数数数数数"],
                ["a.b", "12s", ""],
            ],
            30,
            &[
                "  NAME                 AGE",
                "  call(one two three)   1s",
                "    link 数数数数数数数数",
                "  a.b                  12s",
            ],
        );
    }

    #[test]
    fn a_column_without_content_is_left_out() {
        check(&[["a", "", "x"]], 80, &["  NAME  LINK", "  a     x"]);
        check(&[], 80, &["  (none)"]);
    }
}
