//! The header of a registry: checked before anything else is read.

use std::io;

use roam_trace_common::limits::MAX_CAPACITY;
use roam_trace_common::registry::{ABI_VERSION, HEADER_BYTES, HeaderRecord, MAGIC, Table};
use thiserror::Error;
use zerocopy::FromBytes;

use super::memory::{RegionMemory, read_full};

/// Why a registry cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The memory could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first bytes are not those of a registry.
    #[error("it does not start with \"roamdiag\"")]
    NotARegistry,
    /// The registry has another version of the layout.
    #[error(
        "it has ABI version {found}, and this reader has version {ABI_VERSION}; use the roam-trace that belongs to the program's roam-diagnostic"
    )]
    AbiVersion {
        /// The version it has.
        found: u32,
    },
    /// The header contradicts itself.
    #[error("its header is invalid: {0}")]
    Damaged(&'static str),
}

/// Reads only the header of a registry, and checks it.
///
/// # Errors
///
/// [`ReadError`] if the memory is unreadable or the header is invalid.
pub fn read_header<M: RegionMemory + ?Sized>(memory: &M) -> Result<HeaderRecord, ReadError> {
    let mut bytes = [0; size_of::<HeaderRecord>()];
    let got = read_full(memory, &mut bytes, 0)?;
    let header = HeaderRecord::read_from_bytes(&bytes).map_err(|_| ReadError::NotARegistry)?;
    if got < bytes.len() || header.magic != MAGIC {
        return Err(ReadError::NotARegistry);
    }
    if header.abi_version != ABI_VERSION {
        return Err(ReadError::AbiVersion {
            found: header.abi_version,
        });
    }
    let end = memory.bytes()?;
    for (table, record) in Table::ALL.into_iter().zip(header.tables) {
        let slot_bytes = table.slot_bytes() as u64;
        if u64::from(record.slot_bytes) != slot_bytes {
            return Err(ReadError::Damaged(
                "a table has slots of an unexpected size",
            ));
        }
        if record.capacity > MAX_CAPACITY || record.high_water > record.capacity {
            return Err(ReadError::Damaged(
                "a table claims more slots than the maximum",
            ));
        }
        let table_end = record
            .offset
            .checked_add(u64::from(record.capacity) * slot_bytes);
        if record.offset < HEADER_BYTES as u64
            || record.offset % 8 != 0
            || table_end.is_none_or(|table_end| table_end > end)
        {
            return Err(ReadError::Damaged("a table lies outside the region"));
        }
    }
    Ok(header)
}
