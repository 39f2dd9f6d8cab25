//! Ids in JSON: numbers while every reader keeps them exact, strings above.

use serde::Serializer;

/// The largest integer that every JSON reader keeps exact.
const MAX_EXACT: u64 = 1 << 53;

/// An id in the JSON schema.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(missing_docs, reason = "the schema would have it")]
pub enum Id {
    Number(u64),
    Text(String),
}

/// Serializes an id.
pub fn id<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if *value <= MAX_EXACT {
        serializer.serialize_u64(*value)
    } else {
        serializer.collect_str(value)
    }
}

/// Serializes an id that may be unknown.
pub fn optional_id<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => id(value, serializer),
        None => serializer.serialize_none(),
    }
}
