//! Two links that may be the ends of one, and what speaks for it.

use super::compare::{NOISE_US, shorter};
use super::connectivity::Connectivity;
use super::counters::{CounterMatch, NOISE_MESSAGES};
use super::link::LinkIndex;
use super::requests::RequestMatch;
use crate::analysis::basis::PairingBasis;
use crate::analysis::index::SnapshotIndex;
use crate::model::Confidence;

/// Ends of one link that open further apart have met with something odd.
const OPENED_APART_US: i64 = 1_000_000;

/// Two links that may be the ends of one, and what speaks for it.
pub(super) struct Candidate {
    pub(super) ends: [u32; 2],
    connectivity: Connectivity,
    requests: RequestMatch,
    counters: CounterMatch,
    /// Whether nothing has moved for a while at either end.
    is_quiet: bool,
    messages: u64,
    opened_apart_us: Option<i64>,
    /// Whether both are open, or both closed.
    is_same_state: bool,
}

impl Candidate {
    /// `None` where nothing speaks for it, or where it is impossible.
    pub(super) fn new(
        index: &SnapshotIndex<'_>,
        links: &LinkIndex,
        connectivity: Connectivity,
        ends: [u32; 2],
    ) -> Option<Self> {
        let [a, b] = ends.map(|end| links.get(end));
        let candidate = Self {
            ends,
            connectivity,
            requests: RequestMatch::of(index, links, [a, b]),
            counters: CounterMatch::of(a, b),
            is_quiet: a.is_quiet && b.is_quiet,
            is_same_state: a.is_open == b.is_open,
            messages: a.counters.map_or(0, |counters| {
                (counters.messages_sent).saturating_add(counters.messages_received)
            }),
            opened_apart_us: a.opened_us.zip(b.opened_us).map(|(a, b)| (a - b).abs()),
        };
        candidate.is_plausible().then_some(candidate)
    }

    fn is_plausible(&self) -> bool {
        let opened_together = self
            .opened_apart_us
            .is_some_and(|apart| apart <= OPENED_APART_US);
        let is_exact = self.counters.is_exact();
        self.counters != CounterMatch::Impossible
            && match self.connectivity {
                Connectivity::Shared(_) => self.requests.found > 0 || is_exact || opened_together,
                Connectivity::Unknown => self.requests.found > 0 || is_exact && opened_together,
                Connectivity::None => false,
            }
    }

    /// How many observations prefer this one to `other`, less those that prefer the other.
    pub(super) fn compare(&self, other: &Self) -> i32 {
        let is_connected =
            |candidate: &Self| i32::from(matches!(candidate.connectivity, Connectivity::Shared(_)));
        let are_quiet = self.is_quiet && other.is_quiet;
        self.counters.compare(other.counters, are_quiet)
            + self.requests.compare(other.requests)
            + shorter(self.opened_apart_us, other.opened_apart_us)
            + i32::from(self.is_same_state)
            - i32::from(other.is_same_state)
            + is_connected(self)
            - is_connected(other)
    }

    pub(super) fn other_end(&self, end: u32) -> u32 {
        if self.ends[0] == end {
            self.ends[1]
        } else {
            self.ends[0]
        }
    }

    pub(super) fn confidence(&self, is_by_elimination: bool) -> Confidence {
        let observations = [
            matches!(self.connectivity, Connectivity::Shared(_)),
            self.requests.found > 0 && self.requests.missing == 0,
            self.counters.is_exact() && self.messages >= NOISE_MESSAGES,
            self.opened_apart_us
                .is_some_and(|apart| apart.unsigned_abs() <= NOISE_US * 5),
        ];
        let agreeing = observations.into_iter().filter(|&agrees| agrees).count();
        if agreeing >= 2 && !is_by_elimination {
            Confidence::High
        } else {
            Confidence::Medium
        }
    }

    pub(super) fn basis(&self, is_by_elimination: bool) -> PairingBasis {
        PairingBasis::Observed {
            via: match self.connectivity {
                Connectivity::Shared(via) => Some(via),
                Connectivity::Unknown | Connectivity::None => None,
            },
            requests: self.requests.found,
            do_counters_match: self.counters.is_exact(),
            opened_apart_us: self
                .opened_apart_us
                .filter(|&apart| apart <= OPENED_APART_US),
            is_by_elimination,
        }
    }
}
