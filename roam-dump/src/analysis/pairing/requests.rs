//! Whether the calls of one link are at the other.

use super::compare::shorter;
use super::link::{Link, LinkIndex};
use crate::analysis::index::SnapshotIndex;

/// Settled calls of both ends, as far as they were looked up at the other end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RequestMatch {
    /// Those that are there.
    pub(super) found: u32,
    /// Those that are not.
    pub(super) missing: u32,
    /// By how much the callees started after their callers, together.
    behind_us: i64,
}

impl RequestMatch {
    pub(super) fn of(index: &SnapshotIndex<'_>, links: &LinkIndex, ends: [&Link; 2]) -> Self {
        let mut requests = Self::default();
        for [from, to] in [ends, [ends[1], ends[0]]] {
            for &call in &from.calls {
                match links.callee(index, call, to.endpoint) {
                    Some(behind_us) => {
                        requests.found += 1;
                        requests.behind_us += behind_us;
                    }
                    None if index.has_all_requests(to.endpoint.process) => requests.missing += 1,
                    None => {}
                }
            }
        }
        requests
    }

    /// 1 where these fit better than `other`, -1 where those do.
    pub(super) fn compare(self, other: Self) -> i32 {
        let is_better = |a: Self, b: Self| {
            a.found >= b.found
                && a.missing <= b.missing
                && (a.found > b.found || a.missing < b.missing)
        };
        if self.found > 0 && is_better(self, other) {
            1
        } else if other.found > 0 && is_better(other, self) {
            -1
        } else {
            shorter(self.mean_behind_us(), other.mean_behind_us())
        }
    }

    fn mean_behind_us(self) -> Option<i64> {
        (self.found > 0).then(|| self.behind_us / i64::from(self.found))
    }
}
