//! Whether each end of two links received what the other sent.

use super::compare::smaller;
use super::link::Link;
use crate::analysis::facts::Counters;

/// Bytes and messages that may be under way at any moment.
const NOISE_BYTES: u64 = 256;
pub(super) const NOISE_MESSAGES: u64 = 4;
/// Samples that count for more than how far apart the counters are, and how many of them may differ by chance.
const MANY_SAMPLES: u32 = 4;
const NOISE_SAMPLES: u64 = 3;
/// Messages that the receiver may have counted before the sender did.
const SLACK_MESSAGES: u64 = 2;
/// Messages that may have been sent between the samples of two ends, where no samples were taken around them.
const UNSEEN_MESSAGES: u64 = 64;

/// How the counters of two ends go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CounterMatch {
    /// One received more than the other ever sent.
    Impossible,
    /// There are none, or what is missing may be held up.
    Unknown,
    /// What was received differs from what was sent.
    Apart {
        /// By how many messages and bytes, in the first sample.
        messages: u64,
        bytes: u64,
        /// In how many of the samples it differs.
        differing: u32,
        samples: u32,
    },
}

/// How one sample matches those before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SampleMatch {
    /// By how many messages and bytes what was received lies outside of what was sent before and after.
    Apart(u64, u64),
    Unknown,
    Impossible,
}

impl CounterMatch {
    pub(super) fn of(a: &Link, b: &Link) -> Self {
        let (Some(a_counters), Some(b_counters)) = (a.counters, b.counters) else {
            return Self::Unknown;
        };
        // A driver that does not count, or a link without traffic: all of those are the same.
        if a_counters == Counters::default() || b_counters == Counters::default() {
            return Self::Unknown;
        }
        let is_held_up = a.is_held_up || b.is_held_up;
        let mut matches: Vec<SampleMatch> = a
            .samples
            .windows(3)
            .zip(b.samples.windows(3))
            .filter_map(|(a, b)| {
                let all =
                    |samples: &[Option<Counters>]| Some([samples[0]?, samples[1]?, samples[2]?]);
                Some(compare_samples(
                    all(a)?,
                    all(b)?,
                    SLACK_MESSAGES,
                    is_held_up,
                ))
            })
            .collect();
        if matches.is_empty() {
            let [a, b] = [a_counters, b_counters].map(|counters| [counters; 3]);
            matches.push(compare_samples(a, b, UNSEEN_MESSAGES, is_held_up));
        }
        if matches.contains(&SampleMatch::Impossible) {
            return Self::Impossible;
        }
        match matches[0] {
            SampleMatch::Apart(messages, bytes) => Self::Apart {
                messages,
                bytes,
                differing: matches
                    .iter()
                    .filter(|&&sample| sample != SampleMatch::Apart(0, 0))
                    .count() as u32,
                samples: matches.len() as u32,
            },
            SampleMatch::Unknown | SampleMatch::Impossible => Self::Unknown,
        }
    }

    pub(super) fn is_exact(self) -> bool {
        matches!(
            self,
            Self::Apart {
                messages: 0,
                bytes: 0,
                ..
            }
        )
    }

    /// Positive where these fit better than `other`, negative where those do.
    pub(super) fn compare(self, other: Self, are_quiet: bool) -> i32 {
        match (self, other) {
            (Self::Unknown, other) => -i32::from(other.is_exact()),
            (own, Self::Unknown) => i32::from(own.is_exact()),
            (
                Self::Apart {
                    messages,
                    bytes,
                    differing,
                    samples,
                },
                Self::Apart {
                    messages: other_messages,
                    bytes: other_bytes,
                    differing: other_differing,
                    samples: other_samples,
                },
            ) => {
                if samples.min(other_samples) >= MANY_SAMPLES {
                    // Each sample is an observation of its own, so this outweighs any single one.
                    return 2 * smaller(differing.into(), other_differing.into(), NOISE_SAMPLES);
                }
                let noise = |under_way| if are_quiet { 1 } else { under_way };
                let by_bytes = smaller(bytes, other_bytes, noise(NOISE_BYTES));
                let by_messages = smaller(messages, other_messages, noise(NOISE_MESSAGES));
                (by_bytes + by_messages).signum()
            }
            (Self::Impossible, _) | (_, Self::Impossible) => 0,
        }
    }
}

/// Compares what each end had received at the middle of three moments with what the other had sent before
/// and after.
fn compare_samples(
    a: [Counters; 3],
    b: [Counters; 3],
    slack: u64,
    is_held_up: bool,
) -> SampleMatch {
    let ways = [
        one_way([a[0], a[2]], b[1].at_other_end(), slack, is_held_up),
        one_way([b[0], b[2]], a[1].at_other_end(), slack, is_held_up),
    ];
    match ways {
        [
            SampleMatch::Apart(messages, bytes),
            SampleMatch::Apart(back_messages, back_bytes),
        ] => SampleMatch::Apart(messages.max(back_messages), bytes.max(back_bytes)),
        [one, other] => one.max(other),
    }
}

/// `received` as its sender would count it.
fn one_way(sent: [Counters; 2], received: Counters, slack: u64, is_held_up: bool) -> SampleMatch {
    let [least, most] = sent;
    if received.messages_sent > most.messages_sent.saturating_add(slack) {
        return SampleMatch::Impossible;
    }
    let outside = |of: fn(Counters) -> u64| {
        let below = of(least).saturating_sub(of(received));
        below.max(of(received).saturating_sub(of(most)))
    };
    let messages = outside(|counters| counters.messages_sent);
    let bytes = outside(|counters| counters.bytes_sent);
    match (messages, bytes) {
        (0, 0) => SampleMatch::Apart(0, 0),
        _ if is_held_up => SampleMatch::Unknown,
        (messages, bytes) => SampleMatch::Apart(messages, bytes),
    }
}
