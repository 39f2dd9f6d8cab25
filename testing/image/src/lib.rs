//! The bytes of a registry, as a traced program would have written them or as no program would: a header,
//! tables, rows and names, and ways to damage them.
//!
//! Knows the layout and nothing else: it neither writes to a live registry nor reads one.

#![deny(unsafe_code)]

pub mod damage;
pub mod row;

use roam_trace_common::registry::{
    ABI_VERSION, HEADER_BYTES, HeaderRecord, MAGIC, Table, TableRecord,
};
use zerocopy::{Immutable, IntoBytes};

/// A header over tables of so many slots, all of them in use, one table right behind the other.
///
/// The process is 1, and everything happened 1 ns or tick after the machine started.
pub fn header(slots: [u32; Table::ALL.len()]) -> HeaderRecord {
    let mut offset = HEADER_BYTES as u64;
    HeaderRecord {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        header_bytes: HEADER_BYTES as u32,
        process_id: 1,
        flags: 0,
        process_start_ticks: 1,
        created_ns: 1,
        tables: Table::ALL.map(|table| {
            let capacity = slots[table as usize];
            let record = TableRecord {
                offset,
                lost: 0,
                capacity,
                slot_bytes: table.slot_bytes() as u32,
                high_water: capacity,
                reserved: 0,
            };
            offset += u64::from(capacity) * table.slot_bytes() as u64;
            record
        }),
    }
}

/// Where a slot begins, in bytes from the beginning of the registry. The one after the last is the table's end.
pub fn offset(header: &HeaderRecord, table: Table, slot: u64) -> u64 {
    let record = &header.tables[table as usize];
    record.offset + slot * u64::from(record.slot_bytes)
}

/// Bytes that the header and all tables take.
pub fn bytes(header: &HeaderRecord) -> u64 {
    offset(
        header,
        Table::Statistics,
        header.tables[Table::Statistics as usize].capacity.into(),
    )
}

/// Writes the header of an image.
///
/// # Panics
///
/// Where the image has no room for it.
pub fn put_header(image: &mut [u8], header: &HeaderRecord) {
    image[..size_of::<HeaderRecord>()].copy_from_slice(header.as_bytes());
}

/// Writes a row, or the beginning of one.
///
/// # Panics
///
/// Where the image has no room for it.
pub fn put<R: IntoBytes + Immutable + ?Sized>(
    image: &mut [u8],
    header: &HeaderRecord,
    table: Table,
    slot: u64,
    row: &R,
) {
    let start = offset(header, table, slot) as usize;
    image[start..start + size_of_val(row)].copy_from_slice(row.as_bytes());
}
