//! What is known of a whole process: whether it can do anything, and what it runs out of.

use roam_trace_common::event::ConnectionState;

use super::driver::{DriverStall, Drivers};
use super::index::{Endpoint, SnapshotIndex};
use crate::model::{
    Connection, FindingKind, ProcessState, RuntimeBlocked, Severity, Snapshot, TableUse,
};

/// Percent of a table in use from which on it is nearly full, and from which on rows are about to be lost.
const TABLE_NEAR_FULL: [u64; 2] = [80, 95];
/// Percent of the descriptors that a process may have.
const DESCRIPTORS_NEAR_LIMIT: u64 = 90;
/// Failed attempts to connect from which on a link counts as lost, however short ago that was.
const MANY_ATTEMPTS: u32 = 3;
/// Microseconds without an attempt to connect, and without a call that waits for one, from which on a client has given
/// up. A caller that makes its call again and again makes the next one before.
const GIVEN_UP_US: u64 = 60_000_000;

/// What was found about each process.
pub(super) struct Health {
    processes: Vec<ProcessHealth>,
}

#[derive(Default)]
struct ProcessHealth {
    blocked: Option<RuntimeBlocked>,
    findings: Vec<(FindingKind, Severity)>,
}

impl Health {
    pub(super) fn new(index: &SnapshotIndex<'_>, drivers: &Drivers<'_>) -> Self {
        let processes = (0..).zip(index.snapshots).map(|(process, snapshot)| {
            let blocked = runtime_blocked(drivers, process, snapshot, index.stuck_us);
            ProcessHealth {
                blocked,
                findings: findings(index, drivers, process, snapshot, blocked),
            }
        });
        Self {
            processes: processes.collect(),
        }
    }

    /// Whether no driver of a process runs, although some have work.
    pub(super) fn blocked(&self, process: u32) -> Option<RuntimeBlocked> {
        self.processes[process as usize].blocked
    }

    /// What was found about a process, the worst first.
    pub(super) fn findings(&self, process: u32) -> &[(FindingKind, Severity)] {
        &self.processes[process as usize].findings
    }

    /// Whether a client of a process tries to connect and has no connection.
    pub(super) fn has_lost_link(&self, process: u32) -> bool {
        let mut findings = self.findings(process).iter();
        findings
            .any(|finding| matches!(finding, (FindingKind::LinksLost { .. }, Severity::Critical)))
    }
}

/// A client without a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct LostLink {
    /// Microseconds that it has had none.
    pub(super) since_us: u64,
    /// Microseconds since its last attempt, if no call waits for a further one.
    pub(super) no_attempt_us: Option<u64>,
}

impl LostLink {
    /// What a client shows that has tried in vain to connect, if that took long, or if it has failed repeatedly. A
    /// client that lost its link and has made no call since has tried nothing.
    pub(super) fn of(row: &Connection, stuck_us: u64) -> Option<Self> {
        use ConnectionState::{BackingOff, Connecting, Disconnected};
        let has_been_open = row.received.is_some_and(|received| received.messages > 0);
        let since_us = match (row.state, row.attempts) {
            (Connecting, 0) => row.state_age_us,
            (Connecting | BackingOff, 1..) if has_been_open => row.state_age_us,
            (Connecting | BackingOff | Disconnected, 1..) => row.age_us,
            _ => return None,
        };
        (since_us >= stuck_us || row.attempts >= MANY_ATTEMPTS).then_some(Self {
            since_us,
            no_attempt_us: (row.state == Disconnected).then_some(row.state_age_us),
        })
    }

    /// Whether nothing has tried for long to connect, so that it holds up nothing.
    pub(super) fn is_given_up(self) -> bool {
        self.no_attempt_us.is_some_and(|us| us >= GIVEN_UP_US)
    }
}

/// Its open links.
fn open_links(process: u32, snapshot: &Snapshot) -> impl Iterator<Item = (Endpoint, &Connection)> {
    let rows = snapshot.connections.iter();
    rows.filter(|row| row.link == row.serial && row.state == ConnectionState::Open)
        .map(move |row| {
            let serial = row.serial;
            (Endpoint { process, serial }, row)
        })
}

/// One driver that does not run may wait for something of its own; if most have work and do not run, they wait for their
/// runtime.
fn runtime_blocked(
    drivers: &Drivers<'_>,
    process: u32,
    snapshot: &Snapshot,
    stuck_us: u64,
) -> Option<RuntimeBlocked> {
    let mut blocked = RuntimeBlocked {
        idle_us: u64::MAX,
        starved_links: 0,
        open_links: 0,
        unread_bytes: 0,
    };
    let mut ran = 0;
    for (link, row) in open_links(process, snapshot) {
        blocked.open_links += 1;
        match (drivers.stall(link), row.driver) {
            (Some(DriverStall::NotPolled { polled_age_us }), _) => {
                blocked.starved_links += 1;
                blocked.idle_us = blocked.idle_us.min(polled_age_us);
                blocked.unread_bytes = blocked
                    .unread_bytes
                    .saturating_add(drivers.unread_bytes(link));
            }
            (None, Some(driver)) if driver.polled_age_us < stuck_us => ran += 1,
            _ => {}
        }
    }
    let is_most = blocked.starved_links > ran && 2 * blocked.starved_links >= blocked.open_links;
    is_most.then_some(blocked)
}

fn findings(
    index: &SnapshotIndex<'_>,
    drivers: &Drivers<'_>,
    process: u32,
    snapshot: &Snapshot,
    blocked: Option<RuntimeBlocked>,
) -> Vec<(FindingKind, Severity)> {
    let pid = snapshot.process.pid;
    let state = match index.state(pid) {
        ProcessState::Alive => None,
        ProcessState::Stopped => Some(FindingKind::Stopped),
        ProcessState::Dead => Some(FindingKind::Dead),
    };
    let blocked = blocked
        .filter(|_| state.is_none())
        .map(FindingKind::RuntimeBlocked);
    let unread = match blocked {
        None => bytes_before_stalled_drivers(drivers, process, snapshot),
        Some(_) => None,
    };
    let lost = |is_given_up| links_lost(snapshot, index.stuck_us, is_given_up);
    let critical = [state, blocked, lost(false), unread]
        .into_iter()
        .flatten()
        .map(|kind| (kind, Severity::Critical));
    let mut findings: Vec<_> = critical.collect();
    findings.extend(lost(true).map(|kind| (kind, Severity::Warning)));
    findings.extend(snapshot.tables.iter().filter_map(table_near_full));
    findings.extend(descriptors_near_limit(index, pid));
    findings.sort_by_key(|&(_, severity)| std::cmp::Reverse(severity));
    findings
}

fn bytes_before_stalled_drivers(
    drivers: &Drivers<'_>,
    process: u32,
    snapshot: &Snapshot,
) -> Option<FindingKind> {
    let stalled = open_links(process, snapshot)
        .map(|(link, _)| link)
        .filter(|&link| drivers.unread_bytes(link) > 0 && drivers.stall(link).is_some());
    let (links, unread_bytes) = stalled.fold((0, 0_u64), |(links, bytes), link| {
        (links + 1, bytes.saturating_add(drivers.unread_bytes(link)))
    });
    (links > 0).then_some(FindingKind::UnreadBytes {
        unread_bytes,
        links,
    })
}

fn links_lost(snapshot: &Snapshot, stuck_us: u64, is_given_up: bool) -> Option<FindingKind> {
    let lost = || {
        let rows = snapshot.connections.iter();
        rows.filter_map(|row| Some((LostLink::of(row, stuck_us)?, row)))
            .filter(|(lost, _)| lost.is_given_up() == is_given_up)
    };
    let (of_longest, longest) = lost().max_by_key(|(lost, _)| lost.since_us)?;
    Some(FindingKind::LinksLost {
        links: lost().count() as u32,
        name: longest.name.clone(),
        since_us: of_longest.since_us,
        no_attempt_us: of_longest.no_attempt_us,
        attempts: longest.attempts,
        losses: longest.losses,
        last_error: longest.last_error.clone(),
    })
}

fn table_near_full(table: &TableUse) -> Option<(FindingKind, Severity)> {
    let used = table.used.saturating_mul(100);
    let is_past = |percent: u64| used >= percent * u64::from(table.capacity.max(1));
    let severity = match TABLE_NEAR_FULL.map(is_past) {
        [_, true] => Severity::Critical,
        [true, _] => Severity::Warning,
        [false, false] => return None,
    };
    let kind = FindingKind::TableNearFull {
        table: table.table,
        used: table.used,
        capacity: table.capacity,
    };
    Some((kind, severity))
}

fn descriptors_near_limit(index: &SnapshotIndex<'_>, pid: u32) -> Option<(FindingKind, Severity)> {
    let (open, limit) = index.process_facts(pid)?.descriptors?;
    let is_near = limit > 0
        && u128::from(open) * 100 >= u128::from(limit) * u128::from(DESCRIPTORS_NEAR_LIMIT);
    is_near.then_some((
        FindingKind::DescriptorsNearLimit { open, limit },
        Severity::Warning,
    ))
}
