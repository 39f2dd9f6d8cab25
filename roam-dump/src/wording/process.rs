//! What was found about a whole process or about many of its handlers, in words.

use std::sync::Arc;

use crate::count::{Count, Counted};
use crate::duration::{Age, Ago};
use crate::model::{FindingKind, NodeKind, Pile, ProcessState, RuntimeBlocked};

/// Microseconds without an end from which on handlers that wait look hung.
const HUNG_US: u64 = 1_000_000;

pub(super) fn state(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Alive => "alive",
        ProcessState::Stopped => "stopped by a signal or a debugger",
        ProcessState::Dead => "dead",
    }
}

/// A fact about a whole process.
pub(super) fn finding(kind: &FindingKind) -> String {
    match kind {
        FindingKind::Stopped => state(ProcessState::Stopped).to_owned(),
        FindingKind::Dead => state(ProcessState::Dead).to_owned(),
        FindingKind::RuntimeBlocked(blocked) => runtime_blocked("its runtime", blocked),
        &FindingKind::UnreadBytes {
            unread_bytes,
            links,
        } => format!(
            "{} unread bytes in sockets whose drivers are stalled ({})",
            Count(unread_bytes),
            Counted(links.into(), "links")
        ),
        FindingKind::LinksLost {
            links,
            name,
            since_us,
            no_attempt_us,
            attempts,
            losses,
            last_error,
        } => {
            let last_error = last_error.as_deref();
            let text = not_connected(*since_us, *no_attempt_us, *attempts, *losses, last_error);
            match links {
                0 | 1 => format!("{name}: {text}"),
                links => format!("{name} and {} more: {text}", links - 1),
            }
        }
        FindingKind::TableNearFull {
            table,
            used,
            capacity,
        } => format!(
            "table of {table} nearly full: {} of {} rows in use",
            Count(*used),
            Count((*capacity).into())
        ),
        &FindingKind::DescriptorsNearLimit { open, limit } => format!(
            "{} of {} file descriptors in use",
            Count(open),
            Count(limit)
        ),
    }
}

/// Why nothing in a process moves.
pub(super) fn runtime_blocked(whose: &str, blocked: &RuntimeBlocked) -> String {
    let RuntimeBlocked {
        idle_us,
        starved_links,
        open_links,
        unread_bytes,
    } = *blocked;
    let unread = match unread_bytes {
        0 => String::new(),
        bytes => format!(" ({} unread bytes)", Count(bytes)),
    };
    let (starved, open, idle) = (
        Count(starved_links.into()),
        Count(open_links.into()),
        Age(idle_us),
    );
    format!(
        "{whose} is blocked or starved: work waits on {starved} of {open} links{unread}, and their drivers have not run for {idle}"
    )
}

/// That a client has no connection.
pub(super) fn not_connected(
    since_us: u64,
    no_attempt_us: Option<u64>,
    attempts: u32,
    losses: u32,
    last_error: Option<&str>,
) -> String {
    let mut text = format!("no connection for {}", Age(since_us));
    if attempts > 0 {
        text += &format!(": {} failed", Counted(attempts.into(), "attempts"));
    }
    if let Some(error) = last_error {
        text += &format!(", last error: {error}");
    }
    if losses > 0 {
        text += &format!("; link lost {}", Counted(losses.into(), "times"));
    }
    if let Some(no_attempt_us) = no_attempt_us {
        text += &format!("; no attempt for {}", Age(no_attempt_us));
    }
    text
}

/// What handlers may wait for besides: stuck calls of their process that no handler is known to have made.
pub(super) fn parentless(calls: u32) -> String {
    match calls {
        0 => String::new(),
        1 => ", or for the call that no handler is known to have made".to_owned(),
        calls => format!(
            ", or for one of the {} calls that no handler is known to have made",
            Count(calls.into())
        ),
    }
}

/// What handlers of one method wait for, and whether any of them ends.
pub(crate) fn pile(kind: &NodeKind) -> Option<Arc<str>> {
    let NodeKind::Handlers(pile) = kind else {
        return None;
    };
    let &Pile {
        parentless_calls,
        ended_per_second,
        last_ended_us,
        ..
    } = &**pile;
    let ended = match (ended_per_second, last_ended_us) {
        (Some(rate), _) if rate > 0.0 => format!("; draining: {rate:.1} end per second"),
        (_, Some(last_us)) if last_us >= HUNG_US => {
            format!("; none has ended for {}", Age(last_us))
        }
        (_, Some(last_us)) => format!("; the last one ended {}", Ago(last_us)),
        (Some(_), None) => "; none has ended".to_owned(),
        (None, None) => String::new(),
    };
    let unknown = parentless(parentless_calls);
    let text = "they wait inside the process, or for I/O outside roam";
    Some(format!("{text}{unknown}{ended}").into())
}
