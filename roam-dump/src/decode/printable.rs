//! Text from another process, made fit for a terminal.

/// Makes text from another process fit for a terminal: replaces what is not UTF-8, and escapes control
/// characters, line breaks and characters that change the direction of writing.
pub fn printable(bytes: &[u8]) -> String {
    printable_within(bytes, usize::MAX)
}

/// As [`printable`], cut at so many characters: an escape takes up to ten, and what a program writes to be read
/// by people has none.
pub(super) fn printable_within(bytes: &[u8], characters: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut escaped = text.chars().flat_map(|character| {
        let is_quote = matches!(character, '"' | '\'');
        let escaped = (!is_quote).then(|| character.escape_debug());
        is_quote
            .then_some(character)
            .into_iter()
            .chain(escaped.into_iter().flatten())
    });
    let mut printable = String::with_capacity(bytes.len());
    printable.extend(escaped.by_ref().take(characters));
    if escaped.next().is_some() {
        printable.push('…');
    }
    printable
}
