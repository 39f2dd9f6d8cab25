//! Memory files with the name of a registry.

use std::ffi::CString;
use std::fs::File;
use std::io::Result;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use roam_trace_common::registry::{HEADER_BYTES, HeaderRecord, REGION_NAME, Table};
use zerocopy::{Immutable, IntoBytes};

use crate::siege::check;

/// Rows that are written at a time.
const ROWS: u64 = 4_096;

/// A registry that only needs its header to be one.
pub(crate) struct Registry {
    file: File,
    header: HeaderRecord,
}

impl Registry {
    /// A registry of this process with so many slots in each table.
    pub(crate) fn new(slots: [u32; Table::ALL.len()]) -> Result<Self> {
        let header = HeaderRecord {
            process_id: std::process::id(),
            process_start_ticks: 0,
            ..registry_image::header(slots)
        };
        let file = memory_file()?;
        file.set_len(registry_image::bytes(&header))?;
        Ok(Self { file, header })
    }

    /// Writes every slot of a table.
    pub(crate) fn fill<R: IntoBytes + Immutable>(
        &self,
        table: Table,
        row: impl Fn(u64) -> R,
    ) -> Result<()> {
        let slots = u64::from(self.header.tables[table as usize].capacity);
        for first in (0..slots).step_by(ROWS as usize) {
            let rows = (first..slots.min(first + ROWS)).flat_map(|slot| {
                let row = row(slot);
                row.as_bytes().to_vec()
            });
            let offset = registry_image::offset(&self.header, table, first);
            self.file.write_all_at(&rows.collect::<Vec<_>>(), offset)?;
        }
        Ok(())
    }

    /// Completes and maps it.
    pub(crate) fn publish(self) -> Result<File> {
        self.file.write_all_at(self.header.as_bytes(), 0)?;
        map(&self.file, HEADER_BYTES, libc::PROT_READ)?;
        Ok(self.file)
    }
}

/// Publishes a registry in which nothing is in flight, for as long as the process lives.
pub(crate) fn publish_empty() -> Result<()> {
    std::mem::forget(Registry::new([1; Table::ALL.len()])?.publish()?);
    Ok(())
}

/// An empty memory file with the name of a registry.
pub(crate) fn memory_file() -> Result<File> {
    named_memory_file(REGION_NAME, 0)
}

/// An empty memory file.
pub(crate) fn named_memory_file(name: &str, flags: u32) -> Result<File> {
    let name = CString::new(name)?;
    // SAFETY: `name` is a string of C's.
    let file =
        check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | flags) }.into())?;
    // SAFETY: a fresh descriptor that nothing else owns.
    Ok(unsafe { File::from_raw_fd(file as i32) })
}

/// Maps the beginning of a file for as long as the process lives: privately where it is code, as loaders do, otherwise
/// shared. Returns where.
pub(crate) fn map(file: &File, bytes: usize, protection: i32) -> Result<usize> {
    let flags = match protection & libc::PROT_EXEC {
        0 => libc::MAP_SHARED,
        _ => libc::MAP_PRIVATE,
    };
    let file = file.as_raw_fd();
    // SAFETY: a fresh mapping at an address that the kernel chooses.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, file, 0) };
    check(address as i64)?;
    Ok(address as usize)
}
