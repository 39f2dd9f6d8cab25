//! The rows of several processes in one list.

use std::cmp::Reverse;

use foldhash::{HashMap, HashSet};
use roam_trace_common::event::Direction;

use super::fold::Placed;
use crate::model::{Evidence, Relation, Request, Snapshot};

/// A row by its process and serial.
type RowKey = (u32, u64);

/// Returns the rows of all processes by the moment that they began.
pub(super) fn oldest_first<'a, R>(
    processes: &'a [Snapshot],
    rows: impl Fn(&'a Snapshot) -> &'a Vec<R>,
    age_us: impl Fn(&R) -> u64,
) -> Vec<Placed<'a, R>> {
    let mut placed: Vec<_> = processes
        .iter()
        .flat_map(|snapshot| rows(snapshot).iter().map(move |row| (snapshot, row)))
        .collect();
    let newest_ns = processes.iter().map(|snapshot| snapshot.taken_ns).max();
    placed.sort_by_key(|(snapshot, row)| {
        // Snapshots of several processes are not one instant.
        let later_us = newest_ns.unwrap_or(0) - snapshot.taken_ns;
        Reverse(age_us(row) + later_us / 1_000)
    });
    placed
}

/// Returns the requests of all processes by the moment that they began, but the callee's row of a request behind the
/// caller's.
pub(super) fn callers_first(processes: &[Snapshot]) -> Vec<Placed<'_, Request>> {
    let requests = oldest_first(
        processes,
        |snapshot| &snapshot.requests,
        |request| request.age_us,
    );
    let callees: HashSet<RowKey> = requests.iter().filter_map(|(_, row)| callee(row)).collect();
    let is_callee = |(snapshot, row): &Placed<'_, Request>| {
        row.direction == Direction::Incoming && callees.contains(&key(snapshot, row))
    };
    let (behind_callers, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(is_callee);
    let mut callees: HashMap<RowKey, Placed<'_, Request>> = behind_callers
        .into_iter()
        .map(|(snapshot, row)| (key(snapshot, row), (snapshot, row)))
        .collect();
    let mut ordered = Vec::with_capacity(others.len() + callees.len());
    for (snapshot, row) in others {
        ordered.push((snapshot, row));
        ordered.extend(callee(row).and_then(|callee| callees.remove(&callee)));
    }
    ordered
}

/// Returns the callee's row of the same request, if a verdict rests on it.
pub(super) fn callee(request: &Request) -> Option<RowKey> {
    let mut evidence = request.verdict.iter().flat_map(|of| of.evidence.iter());
    evidence.find_map(|evidence| match *evidence {
        Evidence::Row {
            relation: Relation::Callee,
            pid,
            serial,
            ..
        } => Some((pid, serial)),
        _ => None,
    })
}

fn key(snapshot: &Snapshot, row: &Request) -> RowKey {
    (snapshot.process.pid, row.serial)
}
