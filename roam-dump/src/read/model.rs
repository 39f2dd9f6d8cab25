//! The scan of memory made of loom's atomics.

use roam_trace_common::registry::{
    ABI_VERSION, HEADER_BYTES, HeaderRecord, MAGIC, Table, TableRecord,
};

use super::budget::Budget;
use super::memory::RegionMemory;
use super::scan::{Row, Scan};

/// The live rows of a table of `slots` slots that begins at offset 0, as one scan finds them.
pub fn rows<R: Row>(memory: &impl RegionMemory, table: Table, slots: u32) -> Vec<R> {
    let table_record = TableRecord {
        offset: 0,
        lost: 0,
        capacity: slots,
        slot_bytes: size_of::<R>() as u32,
        high_water: slots,
        reserved: 0,
    };
    let header = HeaderRecord {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        header_bytes: HEADER_BYTES as u32,
        process_id: 1,
        flags: 0,
        process_start_ticks: 1,
        created_ns: 1,
        tables: [table_record; Table::ALL.len()],
    };
    let mut scan = Scan::new(memory, header, Budget::default());
    scan.pauses = 0;
    let mut rows = Vec::new();
    scan.for_each_row::<R>(table, |row| rows.push(*row))
        .unwrap();
    assert_eq!(scan.invalid, 0);
    rows
}
