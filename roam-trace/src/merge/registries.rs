//! Joins the registries of one process.

use roam_dump::decode::from_registry;
use roam_dump::model::{Process, Snapshot};
use roam_dump::read::Image;

use crate::process::clock::Clock;

/// Bits by which the serials of a process's second registry are moved, and so on. A serial of the first
/// one stays what the process itself prints.
const REGISTRY_SHIFT: u32 = 56;

/// The part of a serial that the process itself knows.
pub(super) const SERIAL_MASK: u64 = (1 << REGISTRY_SHIFT) - 1;

/// Makes the snapshot of a process from its registries, all read at `now_ns` on the clock of the process; `None` if
/// it has none.
///
/// Several registries in one process number their rows alike: to keep rows apart, the serials of all but
/// the first get the registry's index in their highest byte.
///
/// Takes the rows of requests and channels out of the images.
pub fn join_registries(
    process: &Process,
    images: &mut [Image],
    now_ns: u64,
    clock: &Clock,
) -> Option<Snapshot> {
    let several = images.len() > 1;
    let mut snapshots = images
        .iter_mut()
        .map(|image| from_registry(process.clone(), image, now_ns));
    let mut joined = snapshots.next()?;
    joined.taken_ns = clock.own_ns(clock.initial_ns(now_ns));
    for (index, mut snapshot) in snapshots.enumerate() {
        renumber(&mut snapshot, index as u32 + 1);
        for gap in snapshot.gaps {
            gap.join(&mut joined.gaps);
        }
        joined.requests.append(&mut snapshot.requests);
        joined.channels.append(&mut snapshot.channels);
        joined.connections.append(&mut snapshot.connections);
        joined.methods.append(&mut snapshot.methods);
        joined.tables.append(&mut snapshot.tables);
    }
    if several {
        joined.sort();
    }
    Some(joined)
}

/// Returns the serial that a row of the registry with this index has in the snapshot.
pub fn serial_of(registry: u64, serial: u64) -> u64 {
    match registry {
        0 => serial,
        _ => (serial & SERIAL_MASK) | registry << REGISTRY_SHIFT,
    }
}

fn renumber(snapshot: &mut Snapshot, registry: u32) {
    let renumber = |serial: &mut u64| {
        if *serial != 0 {
            *serial = serial_of(registry.into(), *serial);
        }
    };
    for row in &mut snapshot.requests {
        renumber(&mut row.serial);
        renumber(&mut row.connection);
        row.parent.iter_mut().for_each(renumber);
    }
    for row in &mut snapshot.channels {
        renumber(&mut row.serial);
        renumber(&mut row.connection);
        row.request.iter_mut().for_each(renumber);
    }
    for row in &mut snapshot.connections {
        renumber(&mut row.serial);
        renumber(&mut row.link);
    }
    for row in &mut snapshot.methods {
        row.registry = registry;
    }
}
