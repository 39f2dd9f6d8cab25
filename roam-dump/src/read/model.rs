//! The scan of memory made of loom's atomics.

use roam_trace_common::registry::{HeaderRecord, Table, TableRecord};
use zerocopy::FromZeros;

use super::budget::Budget;
use super::memory::RegionMemory;
use super::scan::{Row, Scan};

/// The live rows of a table of `slots` slots that begins at offset 0, as one scan finds them.
pub fn rows<R: Row>(memory: &impl RegionMemory, table: Table, slots: u32) -> Vec<R> {
    let mut header = HeaderRecord::new_zeroed();
    header.tables[table as usize] = TableRecord {
        capacity: slots,
        slot_bytes: size_of::<R>() as u32,
        high_water: slots,
        ..TableRecord::new_zeroed()
    };
    let mut scan = Scan::new(memory, header, Budget::default());
    scan.pauses = 0;
    let mut rows = Vec::new();
    scan.for_each_row::<R>(table, |row| rows.push(*row))
        .unwrap();
    assert_eq!(scan.invalid, 0);
    rows
}
