//! Text from another process, made fit for a terminal.

use unicode_width::UnicodeWidthChar as _;

/// Makes text from another process fit for a terminal: replaces what is not UTF-8, and escapes backslashes, control
/// characters, line breaks, and characters that have no width or change the direction of writing.
pub fn printable(bytes: &[u8]) -> String {
    printable_within(bytes, usize::MAX)
}

/// As [`printable`], cut at so many characters: an escape takes up to ten, and what a program writes to be read
/// by people has none.
pub(super) fn printable_within(bytes: &[u8], characters: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut escaped = text.chars().flat_map(|character| {
        let is_quote = matches!(character, '"' | '\'');
        // The standard library takes fillers and the later parts of syllables for letters.
        let is_invisible = character.width() == Some(0);
        let by_code = is_invisible.then(|| character.escape_unicode());
        let escaped = (!is_quote && !is_invisible).then(|| character.escape_debug());
        is_quote
            .then_some(character)
            .into_iter()
            .chain(by_code.into_iter().flatten())
            .chain(escaped.into_iter().flatten())
    });
    let mut printable = String::with_capacity(bytes.len());
    printable.extend(escaped.by_ref().take(characters));
    if escaped.next().is_some() {
        printable.push('…');
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: impl AsRef<[u8]>, expected: &str) {
        assert_eq!(printable(bytes.as_ref()), expected);
    }

    #[test]
    fn characters_that_show_stay() {
        check(
            "Größe.大小(\"a\", 'b') <c> & d",
            "Größe.大小(\"a\", 'b') <c> & d",
        );
    }

    #[test]
    fn what_would_act_on_a_terminal_is_escaped() {
        check("a\n\r\t\0b", r"a\n\r\t\0b");
        check("\u{1b}[31mred\u{9b}0m", r"\u{1b}[31mred\u{9b}0m");
        check(r"C:\n", r"C:\\n");
    }

    #[test]
    fn what_does_not_show_is_escaped() {
        // Right-to-left override, isolate, and mark.
        check("\u{202e}a\u{2067}\u{200f}", r"\u{202e}a\u{2067}\u{200f}");
        // Zero-width space, joiner, word joiner, byte order mark, soft hyphen.
        check(
            "\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}",
            r"\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}",
        );
        // An accent that combines, a variation selector, a tag.
        check("e\u{301}\u{fe0f}\u{e0041}", r"e\u{301}\u{fe0f}\u{e0041}");
        // A filler, and the later parts of a syllable.
        check("\u{3164}\u{1160}\u{11a8}", r"\u{3164}\u{1160}\u{11a8}");
        check("\u{2028}\u{2029}\u{e000}", r"\u{2028}\u{2029}\u{e000}");
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        check(b"a\xffb\xe2\x80", "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn text_is_cut_at_a_number_of_characters() {
        assert_eq!(printable_within("äöü".as_bytes(), 2), "äö…");
        assert_eq!(printable_within("äöü".as_bytes(), 3), "äöü");
    }

    #[test]
    fn json_holds_the_text_as_it_is_shown() {
        let text = printable("\u{202e}\"\\\n<".as_bytes());
        assert_eq!(
            serde_json::to_string(&text).unwrap(),
            r#""\\u{202e}\"\\\\\\n<""#
        );
    }
}
