//! Stands in for the counter on processors that have none, in Miri, and in loom.

pub(super) fn now_ns() -> Option<u64> {
    None
}
