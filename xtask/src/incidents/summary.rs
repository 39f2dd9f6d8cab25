//! False statements in a few lines.

use std::collections::BTreeMap;

/// Kinds of false statements that are shown of each run.
const SHOWN: usize = 8;

/// Statements that differ in numbers only are one, with their count.
pub(super) fn summary(statements: &[String]) -> Vec<String> {
    let mut kinds: BTreeMap<String, (usize, &String)> = BTreeMap::new();
    for statement in statements {
        let kind = statement
            .chars()
            .filter(|letter| !letter.is_ascii_digit())
            .collect();
        kinds.entry(kind).or_insert((0, statement)).0 += 1;
    }
    let count = kinds.len();
    let kinds = kinds.into_values().take(SHOWN);
    let mut lines: Vec<_> = kinds
        .map(|(count, example)| format!("({count}) {example}"))
        .collect();
    if count > SHOWN {
        lines.push(format!("and {} other kinds", count - SHOWN));
    }
    lines
}
