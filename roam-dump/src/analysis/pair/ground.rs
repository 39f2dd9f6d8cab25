//! The grounds on which two links are taken for the ends of one.

use super::link::{Link, Links, Tie};
use crate::analysis::facts::Moved;
use crate::analysis::scene::Scene;
use crate::model::Confidence;

/// How long after the caller's start a callee may start while nothing else is known.
pub(super) const SOON_US: i64 = 1_000_000;
/// Ends of one link that open further apart have met with something odd.
const OPENED_APART_US: i64 = 1_000_000;
/// Differences below are noise: the clock ticks every 1 to 10 ms.
const NOISE_US: i64 = 20_000;
/// Bytes and messages that may be under way at any moment.
const NOISE_BYTES: u64 = 256;
const NOISE_MESSAGES: u64 = 4;
/// Looks that tell more than how far apart the counters are, and how many of them may differ by chance.
const MANY_LOOKS: u32 = 4;
const NOISE_LOOKS: u64 = 3;
/// Messages that the receiver may have counted before the sender did.
const SLACK_MESSAGES: u64 = 2;
/// Messages that may have moved between the looks at two ends, where there is no look around both.
const UNSEEN_MESSAGES: u64 = 64;

/// Two links that may be the ends of one, and what speaks for it.
pub(super) struct Candidate {
    pub(super) ends: [u32; 2],
    tie: Tie,
    requests: Requests,
    counters: Counted,
    /// Whether nothing has moved for a while at either end.
    is_quiet: bool,
    messages: u64,
    opened_apart_us: Option<i64>,
    /// Whether both are open, or both closed.
    is_same_state: bool,
}

/// Settled calls of both ends, as far as they were looked for at the other end.
#[derive(Debug, Clone, Copy, Default)]
struct Requests {
    /// Those that are there.
    found: u32,
    /// Those that are not.
    missing: u32,
    /// By how much the callees started after their callers, together.
    behind_us: i64,
}

impl Requests {
    fn look(scene: &Scene<'_>, links: &Links, ends: [&Link; 2]) -> Self {
        let mut requests = Self::default();
        for [from, to] in [ends, [ends[1], ends[0]]] {
            for &call in &from.calls {
                match links.callee(scene, call, to.endpoint) {
                    Some(behind_us) => {
                        requests.found += 1;
                        requests.behind_us += behind_us;
                    }
                    None if scene.has_all_requests(to.endpoint.process) => requests.missing += 1,
                    None => {}
                }
            }
        }
        requests
    }

    fn lead(self, other: Self) -> i32 {
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
            closer(self.mean_behind_us(), other.mean_behind_us())
        }
    }

    fn mean_behind_us(self) -> Option<i64> {
        (self.found > 0).then(|| self.behind_us / i64::from(self.found))
    }
}

/// How the counters of two ends go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// One received more than the other ever sent.
    Impossible,
    /// There are none, or what is missing may be held up.
    Unknown,
    /// What was received differs from what was sent.
    Apart {
        /// By how many messages and bytes, when it was looked at first.
        messages: u64,
        bytes: u64,
        /// In how many of the looks it differs.
        looks: u32,
        of_looks: u32,
    },
}

/// What one look around a moment tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    /// By how many messages and bytes what was received lies outside of what was sent before and after.
    Apart(u64, u64),
    Unknown,
    Impossible,
}

impl Counted {
    fn of(a: &Link, b: &Link) -> Self {
        let (Some(a_moved), Some(b_moved)) = (a.moved, b.moved) else {
            return Self::Unknown;
        };
        // A driver that does not count, or a link that has not moved anything: all of those are alike.
        if a_moved == Moved::default() || b_moved == Moved::default() {
            return Self::Unknown;
        }
        let is_held_up = a.is_held_up || b.is_held_up;
        let mut looks: Vec<Look> = a
            .looks
            .windows(3)
            .zip(b.looks.windows(3))
            .filter_map(|(a, b)| {
                let looks = |looks: &[Option<Moved>]| Some([looks[0]?, looks[1]?, looks[2]?]);
                Some(look(looks(a)?, looks(b)?, SLACK_MESSAGES, is_held_up))
            })
            .collect();
        if looks.is_empty() {
            let [a, b] = [a_moved, b_moved].map(|moved| [moved; 3]);
            looks.push(look(a, b, UNSEEN_MESSAGES, is_held_up));
        }
        if looks.contains(&Look::Impossible) {
            return Self::Impossible;
        }
        match looks[0] {
            Look::Apart(messages, bytes) => Self::Apart {
                messages,
                bytes,
                looks: looks
                    .iter()
                    .filter(|&&look| look != Look::Apart(0, 0))
                    .count() as u32,
                of_looks: looks.len() as u32,
            },
            Look::Unknown | Look::Impossible => Self::Unknown,
        }
    }

    fn is_exact(self) -> bool {
        matches!(
            self,
            Self::Apart {
                messages: 0,
                bytes: 0,
                ..
            }
        )
    }

    fn lead(self, other: Self, are_quiet: bool) -> i32 {
        match (self, other) {
            (Self::Unknown, other) => -i32::from(other.is_exact()),
            (own, Self::Unknown) => i32::from(own.is_exact()),
            (
                Self::Apart {
                    messages,
                    bytes,
                    looks,
                    of_looks,
                },
                Self::Apart {
                    messages: other_messages,
                    bytes: other_bytes,
                    looks: other_looks,
                    of_looks: other_of_looks,
                },
            ) => {
                if of_looks.min(other_of_looks) >= MANY_LOOKS {
                    // Each look is a ground of its own, so this outweighs any single one.
                    return 2 * fewer(looks.into(), other_looks.into(), NOISE_LOOKS);
                }
                let noise = |under_way| if are_quiet { 1 } else { under_way };
                let by_bytes = fewer(bytes, other_bytes, noise(NOISE_BYTES));
                let by_messages = fewer(messages, other_messages, noise(NOISE_MESSAGES));
                (by_bytes + by_messages).signum()
            }
            (Self::Impossible, _) | (_, Self::Impossible) => 0,
        }
    }
}

/// Compares what each end had received at the middle of three moments with what the other had sent before
/// and after.
fn look(a: [Moved; 3], b: [Moved; 3], slack: u64, is_held_up: bool) -> Look {
    let ways = [
        one_way([a[0], a[2]], b[1].at_other_end(), slack, is_held_up),
        one_way([b[0], b[2]], a[1].at_other_end(), slack, is_held_up),
    ];
    match ways {
        [
            Look::Apart(messages, bytes),
            Look::Apart(back_messages, back_bytes),
        ] => Look::Apart(messages.max(back_messages), bytes.max(back_bytes)),
        [one, other] => one.max(other),
    }
}

fn one_way(sent: [Moved; 2], received: Moved, slack: u64, is_held_up: bool) -> Look {
    let [least, most] = sent.map(|Moved([messages, bytes, ..])| [messages, bytes]);
    let Moved([messages, bytes, ..]) = received;
    if messages > most[0] + slack {
        return Look::Impossible;
    }
    let outside = |value: u64, index: usize| {
        let below = least[index].saturating_sub(value);
        below.max(value.saturating_sub(most[index]))
    };
    match (outside(messages, 0), outside(bytes, 1)) {
        (0, 0) => Look::Apart(0, 0),
        _ if is_held_up => Look::Unknown,
        (messages, bytes) => Look::Apart(messages, bytes),
    }
}

impl Candidate {
    /// `None` where nothing speaks for it, or where it is impossible.
    pub(super) fn judge(
        scene: &Scene<'_>,
        links: &Links,
        tie: Tie,
        ends: [u32; 2],
    ) -> Option<Self> {
        let [a, b] = ends.map(|end| links.get(end));
        let candidate = Self {
            ends,
            tie,
            requests: Requests::look(scene, links, [a, b]),
            counters: Counted::of(a, b),
            is_quiet: a.is_quiet && b.is_quiet,
            is_same_state: a.is_open == b.is_open,
            messages: a.moved.map_or(0, |moved| moved.0[0] + moved.0[2]),
            opened_apart_us: a.opened_us.zip(b.opened_us).map(|(a, b)| (a - b).abs()),
        };
        candidate.is_plausible().then_some(candidate)
    }

    fn is_plausible(&self) -> bool {
        let opened_together = self
            .opened_apart_us
            .is_some_and(|apart| apart <= OPENED_APART_US);
        let is_exact = self.counters.is_exact();
        self.counters != Counted::Impossible
            && match self.tie {
                Tie::Shared(_) => self.requests.found > 0 || is_exact || opened_together,
                Tie::Unknown => self.requests.found > 0 || is_exact && opened_together,
                Tie::None => false,
            }
    }

    /// How many grounds prefer this one to `other`, less those that prefer the other.
    pub(super) fn lead(&self, other: &Self) -> i32 {
        let tie = i32::from(matches!(self.tie, Tie::Shared(_)))
            - i32::from(matches!(other.tie, Tie::Shared(_)));
        let are_quiet = self.is_quiet && other.is_quiet;
        self.counters.lead(other.counters, are_quiet)
            + self.requests.lead(other.requests)
            + closer(self.opened_apart_us, other.opened_apart_us)
            + i32::from(self.is_same_state)
            - i32::from(other.is_same_state)
            + tie
    }

    pub(super) fn other_end(&self, end: u32) -> u32 {
        if self.ends[0] == end {
            self.ends[1]
        } else {
            self.ends[0]
        }
    }

    /// `is_last` where it was found by elimination.
    pub(super) fn confidence(&self, is_last: bool) -> Confidence {
        let grounds = [
            matches!(self.tie, Tie::Shared(_)),
            self.requests.found > 0 && self.requests.missing == 0,
            self.counters.is_exact() && self.messages >= NOISE_MESSAGES,
            self.opened_apart_us
                .is_some_and(|apart| apart <= NOISE_US * 5),
        ];
        let agreeing = grounds.into_iter().filter(|&agrees| agrees).count();
        if agreeing >= 2 && !is_last {
            Confidence::High
        } else {
            Confidence::Medium
        }
    }

    /// What speaks for it, in words.
    pub(super) fn ground(&self, is_last: bool) -> String {
        let mut grounds = Vec::new();
        match self.tie {
            Tie::Shared(via) => grounds.push(via.name().to_owned()),
            Tie::Unknown => grounds.push("sockets not known".to_owned()),
            Tie::None => {}
        }
        match self.requests.found {
            0 => {}
            1 => grounds.push("1 request agrees".to_owned()),
            count => grounds.push(format!("{count} requests agree")),
        }
        if self.counters.is_exact() {
            grounds.push("messages and bytes agree".to_owned());
        }
        if let Some(apart) = self.opened_apart_us
            && apart <= OPENED_APART_US
        {
            grounds.push(format!(
                "opened {}.{} ms apart",
                apart / 1_000,
                apart % 1_000 / 100
            ));
        }
        if is_last {
            grounds.push("the only ones left".to_owned());
        }
        grounds.join(", ")
    }
}

/// 1 where the first time is shorter by more than chance, -1 where the second is.
fn closer(a_us: Option<i64>, b_us: Option<i64>) -> i32 {
    match (a_us, b_us) {
        (Some(a), Some(b)) => fewer(a.unsigned_abs(), b.unsigned_abs(), NOISE_US as u64),
        _ => 0,
    }
}

/// 1 where the first number is smaller by more than chance, -1 where the second is.
fn fewer(a: u64, b: u64, noise: u64) -> i32 {
    if a.max(b) < noise {
        0
    } else if a.saturating_mul(4) <= b {
        1
    } else if b.saturating_mul(4) <= a {
        -1
    } else {
        0
    }
}
