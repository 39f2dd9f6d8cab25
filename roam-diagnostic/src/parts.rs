//! Cuts a dump into parts that a pipe takes whole, each between two marker lines: programs that share one standard
//! error may write at the same time.

use std::io::Write;

/// A section of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    /// The process that writes the dump.
    pub(crate) pid: u32,
    /// Its dumps, counted from 1.
    pub(crate) dump: u64,
    /// What of the dump, which is written as soon as it is there.
    pub(crate) section: &'static str,
}

/// Calls `write` with each part, until it returns false; returns whether it never did. No part has more than `most` bytes, in which both markers and
/// a character must have room.
///
/// Parts end where lines end. Of a line that is longer than a part, each piece but the last ends with `…`.
pub(crate) fn write_parts(
    text: &str,
    of: Section,
    most: usize,
    mut write: impl FnMut(&[u8]) -> bool,
) -> bool {
    let marker = |which, part, parts| {
        let Section { pid, dump, section } = of;
        format!(
            "--- roam-dump {which} pid={pid} dump={dump} section={section} part={part}/{parts} ---\n"
        )
    };
    // No part of a text has a number with more digits than the text has bytes.
    let markers = 2 * marker("begin", text.len(), text.len()).len();
    let pieces = pieces(text, most - markers);
    let mut bytes = Vec::with_capacity(most);
    for (part, piece) in (1..).zip(&pieces) {
        bytes.clear();
        bytes.extend(marker("begin", part, pieces.len()).bytes());
        // Writing to memory does not fail.
        let _ = write!(bytes, "{}{}", piece.text, piece.end);
        bytes.extend(marker("end", part, pieces.len()).bytes());
        if !write(&bytes) {
            return false;
        }
    }
    true
}

/// The text of a part.
struct Piece<'a> {
    text: &'a str,
    /// What ends its last line, unless the text does.
    end: &'static str,
}

const BROKEN: &str = "…\n";

fn pieces(mut text: &str, most: usize) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let (bytes, end) = first_piece(text, most);
        let (piece, rest) = text.split_at(bytes);
        pieces.push(Piece { text: piece, end });
        text = rest;
    }
    pieces
}

/// The bytes of the first piece, and what ends its last line.
fn first_piece(text: &str, most: usize) -> (usize, &'static str) {
    if text.len() < most {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        return (text.len(), end);
    }
    match text.as_bytes()[..most]
        .iter()
        .rposition(|&byte| byte == b'\n')
    {
        Some(last) => (last + 1, ""),
        None => (text.floor_char_boundary(most - BROKEN.len()), BROKEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Section = Section {
        pid: 93,
        dump: 7,
        section: "x",
    };
    /// Bytes of both markers of a part of a short text.
    const MARKERS: usize = "--- roam-dump begin pid=93 dump=7 section=x part=10/10 ---\n".len() * 2;

    #[track_caller]
    fn check(text: &str, most: usize, expected: &[&str]) {
        let mut parts = Vec::new();
        write_parts(text, OF, most + MARKERS, |part| {
            assert!(part.len() <= most + MARKERS);
            parts.push(String::from_utf8(part.to_vec()).unwrap());
            true
        });
        let of = parts.len();
        let expected: Vec<_> = (1..)
            .zip(expected)
            .map(|(part, text)| {
                format!(
                    "--- roam-dump begin pid=93 dump=7 section=x part={part}/{of} ---\n{text}--- roam-dump end pid=93 dump=7 section=x part={part}/{of} ---\n"
                )
            })
            .collect();
        assert_eq!(parts, expected);
    }

    #[test]
    fn parts_end_where_lines_end() {
        check("one\n", 10, &["one\n"]);
        check("one", 10, &["one\n"]);
        check("one\ntwo\nthree\n", 9, &["one\ntwo\n", "three\n"]);
        check("12345678\n12345678\n", 9, &["12345678\n", "12345678\n"]);
        check(
            "12345678\nlast line",
            9,
            &["12345678\n", "last …\n", "line\n"],
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_broken_between_characters() {
        check(
            "1234567890abc\nend\n",
            10,
            &["123456…\n", "7890abc\n", "end\n"],
        );
        check("ääääää\n", 9, &["ää…\n", "ääää\n"]);
    }

    #[test]
    fn nothing_is_written_after_a_failure() {
        let mut written = 0;
        let is_written = write_parts("one\ntwo\n", OF, 4 + MARKERS, |_| {
            written += 1;
            false
        });
        assert_eq!((written, is_written), (1, false));
    }
}
