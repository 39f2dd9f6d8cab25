//! What the age of a request was compared with, in words and as evidence.

use crate::analysis::Measure;
use crate::count::Count;
use crate::duration::{Age, Took};
use crate::model::{Evidence, Snapshot};

/// Follows the sentence about a request.
pub(super) fn text(measure: &Measure, snapshots: &[Snapshot]) -> String {
    match *measure {
        Measure::Set { stuck_us } => {
            format!("older than the {} set with --stuck-after", Age(stuck_us))
        }
        Measure::TooFew { answered, .. } => {
            let calls = match answered {
                None => "there are no statistics".to_owned(),
                Some(0) => "no call was answered before".to_owned(),
                Some(1) => "only 1 call was answered before".to_owned(),
                Some(calls) => format!("only {calls} calls were answered before"),
            };
            format!("judged by its age alone: {calls}")
        }
        Measure::Latency {
            p50_us,
            p99_us,
            answered,
            process,
            is_own,
            ..
        } => {
            let text = format!(
                "p50 {}, p99 {} of {} calls",
                Took(p50_us),
                Took(p99_us),
                Count(answered)
            );
            if is_own {
                text
            } else {
                format!("{text} in {}", snapshots[process as usize].process)
            }
        }
    }
}

pub(super) fn evidence(measure: &Measure, snapshots: &[Snapshot]) -> Evidence {
    match *measure {
        Measure::Set { stuck_us } => Evidence::TimeAlone {
            stuck_us,
            answered: None,
        },
        Measure::TooFew { stuck_us, answered } => Evidence::TimeAlone { stuck_us, answered },
        Measure::Latency {
            p50_us,
            p99_us,
            answered,
            process,
            ..
        } => Evidence::Latency {
            pid: snapshots[process as usize].process.pid,
            answered,
            p50_us,
            p99_us,
        },
    }
}
