//! Evidence that rows and processes give.

use super::index::{Endpoint, RowId, SnapshotIndex};
use crate::model::{Evidence, Relation, RuntimeBlocked};

pub(super) fn driver(index: &SnapshotIndex<'_>, link: Endpoint) -> Option<Evidence> {
    let driver = index.connection(link)?.driver?;
    Some(Evidence::Driver {
        pid: index.pid(link.process),
        polled_age_us: driver.polled_age_us,
        writing_us: driver.writing_us,
        enqueued: driver.enqueued,
        dequeued: driver.dequeued,
    })
}

pub(super) fn threads(index: &SnapshotIndex<'_>, process: u32) -> Option<Evidence> {
    let pid = index.pid(process);
    let states = index.process_facts(pid)?.threads.clone();
    (!states.is_empty()).then_some(Evidence::Threads { pid, states })
}

pub(super) fn process(
    index: &SnapshotIndex<'_>,
    pid: u32,
    held_by: Option<u32>,
) -> Option<Evidence> {
    let facts = index.process_facts(pid)?;
    Some(Evidence::Process {
        process: facts.process.clone(),
        state: facts.state,
        held_by,
    })
}

pub(super) fn row(index: &SnapshotIndex<'_>, relation: Relation, row: RowId) -> Evidence {
    let request = index.request(row);
    Evidence::Row {
        relation,
        pid: index.pid(row.process),
        serial: request.serial,
        phase: request.phase,
        mark: request.mark,
        phase_age_us: request.phase_age_us,
    }
}

pub(super) fn runtime_blocked(
    index: &SnapshotIndex<'_>,
    process: u32,
    blocked: RuntimeBlocked,
) -> Vec<Evidence> {
    let pid = index.pid(process);
    let blocked = Evidence::RuntimeBlocked { pid, blocked };
    [blocked]
        .into_iter()
        .chain(threads(index, process))
        .collect()
}
