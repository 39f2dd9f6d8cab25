//! Short words for the parts of a dump.

use serde_json::Value;

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn number(value: &Value) -> u32 {
    value.as_u64().unwrap_or(0) as u32
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Ids are numbers, and beyond 2^53 strings.
pub(super) fn id(value: &Value) -> String {
    let string = value.as_str().map(str::to_owned);
    string.unwrap_or_else(|| value.to_string())
}

/// The process of a row's table, or of a node.
pub(super) fn pid(of: &Value) -> u32 {
    number(&of["process"]["pid"])
}
