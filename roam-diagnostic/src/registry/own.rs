//! Reads the registry of this process itself: the bytes of the region, for a reader such as `roam-dump`,
//! and copies of the rows in use. Takes no lock.
#![allow(unsafe_code)]

use roam_trace_common::Serial;
use roam_trace_common::limits::ARGUMENTS_BYTES;
use roam_trace_common::registry::{
    ArgumentsRecord, ChannelRecord, ConnectionRecord, RequestRecord, Table,
};

use super::cells::cells;
use super::{Record, Registry, existing_registry, live_sequence};
use crate::region::{Region, Slot};
use crate::sync::{Ordering, fence};

/// The memory of this process's own registry, read through its mapping: works with every descriptor closed.
#[derive(Clone, Copy)]
pub struct OwnRegion(&'static Region);

impl OwnRegion {
    /// Returns the bytes of the region.
    pub fn bytes(self) -> u64 {
        self.0.bytes()
    }

    /// Copies the bytes of the region from `offset` on, and returns how many there were.
    ///
    /// # Panics
    ///
    /// Panics if `offset` is not a multiple of eight.
    pub fn copy_to(self, offset: u64, buffer: &mut [u8]) -> usize {
        self.0.copy_to(offset, buffer)
    }
}

/// Returns the region; `None` if nothing was reported yet or reporting is off.
pub fn region() -> Option<OwnRegion> {
    existing_registry().map(|registry| OwnRegion(&registry.region))
}

/// Copies of the rows in use.
#[derive(Debug, Default)]
pub struct Rows {
    /// Connections.
    pub connections: Vec<ConnectionRecord>,
    /// Requests in flight.
    pub requests: Vec<RequestRecord>,
    /// Open channels.
    pub channels: Vec<ChannelRecord>,
}

/// Returns whether requests have no rows because only the probes report them.
pub fn is_probes_only() -> bool {
    existing_registry().is_some() && cells().is_some()
}

/// Returns the rows in use now; none if nothing was reported yet or reporting is off.
pub fn rows() -> Rows {
    existing_registry().map_or_else(Rows::default, |registry| Rows {
        connections: registry.copy_rows(),
        requests: registry.copy_rows(),
        channels: registry.copy_rows(),
    })
}

/// Returns the arguments of a request, if they are recorded and the request has not ended.
pub fn arguments(row: &RequestRecord) -> Option<String> {
    let serial = Serial(row.serial);
    let registry = existing_registry()?;
    let slots = registry.region.slots::<ArgumentsRecord>(Table::Arguments);
    let slot = slots.get(serial.slot())?;
    // SAFETY: an `ArgumentsRecord` is bytes.
    let arguments = unsafe { slot.load() };
    fence(Ordering::Acquire);
    let bytes = (row.arguments_bytes as usize).min(ARGUMENTS_BYTES);
    let request = registry.slots::<RequestRecord>().get(serial.slot())?;
    (bytes > 0 && sequence(request) == live_sequence(serial))
        .then(|| String::from_utf8_lossy(&arguments.text[..bytes]).into_owned())
}

impl Registry {
    fn copy_rows<R: Record>(&self) -> Vec<R> {
        (0..R::slab(self).claimed())
            .filter_map(|index| copy_row(self.slots().get(index)?))
            .collect()
    }
}

/// The row in a slot; `None` while the slot is free, or is being claimed or released.
fn copy_row<R: Record>(slot: Slot<'_, R>) -> Option<R> {
    loop {
        let before = sequence(slot);
        // SAFETY: records of the registry are integers without padding.
        let row = unsafe { slot.load() };
        let serial = Serial(slot.u64(R::SERIAL).load(Ordering::Acquire));
        fence(Ordering::Acquire);
        if sequence(slot) == before {
            // Not the sequence that its serial implies: a connection that was renamed has a later one.
            return (serial != Serial::NONE && before.is_multiple_of(2)).then_some(row);
        }
    }
}

fn sequence<R: Record>(slot: Slot<'_, R>) -> u64 {
    slot.u64(R::SEQUENCE).load(Ordering::Acquire)
}
