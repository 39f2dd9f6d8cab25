//! Which links something stuck waits for, by the verdicts of the rows.

use foldhash::{HashMap, HashMapExt};
use roam_dump::model::{Code, Connection, Request, Snapshot, Verdict};
use roam_trace_common::event::{ChannelDirection, ConnectionState, Direction, Phase};

/// The root connection of a link that something stuck waits for.
pub(super) struct AwaitedLink<'a> {
    /// The process that waits.
    pub(super) pid: u32,
    /// Its row.
    pub(super) row: &'a Connection,
    /// Age of the oldest row that waits, in microseconds.
    pub(super) age_us: u64,
}

/// The open links that something stuck waits for. What is stuck inside the process waits for none.
pub(super) fn awaited_links(snapshot: &Snapshot) -> Vec<AwaitedLink<'_>> {
    let links: HashMap<u64, u64> = (snapshot.connections.iter())
        .map(|row| (row.serial, row.link))
        .collect();
    let mut oldest_us: HashMap<u64, u64> = HashMap::new();
    let mut wait = |connection: u64, age_us: u64| {
        if let Some(&link) = links.get(&connection) {
            let oldest_us = oldest_us.entry(link).or_default();
            *oldest_us = age_us.max(*oldest_us);
        }
    };
    for row in &snapshot.requests {
        if is_stuck(row.verdict.as_deref()) && waits_for_peer(row) {
            wait(row.connection, row.age_us);
        }
    }
    for row in &snapshot.channels {
        if is_stuck(row.verdict.as_deref()) && row.direction == ChannelDirection::Tx {
            wait(row.connection, row.age_us);
        }
    }
    for row in &snapshot.connections {
        let code = row.verdict.as_deref().map(|verdict| verdict.code);
        if code == Some(Code::WriteBlocked) {
            wait(row.serial, row.age_us);
        }
    }
    let mut awaited = open_links(snapshot);
    awaited.retain_mut(|link| match oldest_us.get(&link.row.serial) {
        Some(&age_us) => {
            link.age_us = age_us;
            true
        }
        None => false,
    });
    awaited
}

/// All open links, without an age.
pub(super) fn open_links(snapshot: &Snapshot) -> Vec<AwaitedLink<'_>> {
    (snapshot.connections.iter())
        .filter(|row| row.link == row.serial && row.state == ConnectionState::Open)
        .map(|row| AwaitedLink {
            pid: snapshot.process.pid,
            row,
            age_us: 0,
        })
        .collect()
}

/// Returns whether anything has a verdict that says that it is stuck.
pub(super) fn has_stuck_rows(snapshots: &[Snapshot]) -> bool {
    snapshots.iter().any(|snapshot| {
        let requests = snapshot.requests.iter().map(|row| &row.verdict);
        let channels = snapshot.channels.iter().map(|row| &row.verdict);
        let connections = snapshot.connections.iter().map(|row| &row.verdict);
        let mut verdicts = requests.chain(channels).chain(connections);
        verdicts.any(|verdict| is_stuck(verdict.as_deref()))
    })
}

/// Returns whether nobody waits for a handler any more.
pub(super) fn is_abandoned(row: &Request) -> bool {
    let code = row.verdict.as_deref().map(|verdict| verdict.code);
    matches!(code, Some(Code::CallerGone | Code::ConnectionClosed))
}

fn is_stuck(verdict: Option<&Verdict>) -> bool {
    verdict.is_some_and(|verdict| verdict.code != Code::Usual)
}

/// Returns whether a request waits for the other end of its connection.
fn waits_for_peer(row: &Request) -> bool {
    match row.direction {
        Direction::Outgoing => row.phase != Phase::Responded,
        Direction::Incoming => row.phase == Phase::Responding,
    }
}
