//! `PROCMAP_QUERY` (Linux 6.11): mappings one by one, with names of a bounded length. Writing one line of
//! `/proc/PID/maps` takes the kernel seconds if a file lies deep enough, and nothing interrupts it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use linux_raw_sys::general::{procmap_query, procmap_query_flags};
use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl, opcode};

use super::mapping::{FileId, Mapping, Visit};

const QUERY: u32 = opcode::read_write::<procmap_query>(b'f', 17);
const NAME_BYTES: usize = 4_096;

/// Visits the mappings of an open `/proc/PID/maps`, in the order of their addresses. A name that is too long is empty. A
/// break means that there are more.
///
/// # Errors
///
/// The error of the system call; see [`is_missing`].
pub(super) fn visit(list: &File, visit: &mut Visit<'_>) -> io::Result<ControlFlow<()>> {
    let mut name = [0; NAME_BYTES];
    let mut address = 0;
    loop {
        let found = match query(list, address, &mut name) {
            Err(Errno::NAMETOOLONG) => query(list, address, &mut []),
            found => found,
        };
        let found = match found {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(ControlFlow::Continue(())),
            Err(error) => return Err(error.into()),
        };
        let has = |flag: procmap_query_flags| found.vma_flags & flag as u64 != 0;
        let length = (found.vma_name_size as usize).saturating_sub(1);
        let mapping = Mapping {
            start: found.vma_start,
            end: found.vma_end,
            is_writable: has(procmap_query_flags::PROCMAP_QUERY_VMA_WRITABLE),
            is_executable: has(procmap_query_flags::PROCMAP_QUERY_VMA_EXECUTABLE),
            is_shared: has(procmap_query_flags::PROCMAP_QUERY_VMA_SHARED),
            file: FileId {
                device: (found.dev_major, found.dev_minor),
                inode: found.inode,
            },
            path: name.get(..length).unwrap_or_default(),
        };
        if visit(&mapping).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        address = mapping.end;
    }
}

/// Returns whether the error is that there is no such request: before Linux 6.11, and in an emulator that does not know
/// it.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOTTY | Errno::NOSYS)
    )
}

/// Finds the mapping at `address`, or the next one.
fn query(list: &File, address: u64, name: &mut [u8]) -> Result<procmap_query, Errno> {
    // SAFETY: all of its fields are numbers.
    let mut query: procmap_query = unsafe { std::mem::zeroed() };
    query.size = size_of::<procmap_query>() as u64;
    query.query_flags = procmap_query_flags::PROCMAP_QUERY_COVERING_OR_NEXT_VMA as u64;
    query.query_addr = address;
    if !name.is_empty() {
        query.vma_name_addr = name.as_mut_ptr() as u64;
        query.vma_name_size = name.len() as u32;
    }
    // SAFETY: the kernel reads and writes a `procmap_query`, and writes a name of at most `vma_name_size` bytes.
    unsafe { ioctl(list, Updater::<QUERY, procmap_query>::new(&mut query)) }?;
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as in the text, but for the page that the kernel lends every process.
    #[test]
    fn own_mappings() {
        let mut found = Vec::new();
        let list = File::open("/proc/self/maps").unwrap();
        let visited = visit(&list, &mut |mapping| {
            let path = String::from_utf8_lossy(mapping.path).into_owned();
            found.push((mapping.start, mapping.file, mapping.is_executable, path));
            ControlFlow::Continue(())
        });
        if visited.is_err_and(|error| is_missing(&error)) {
            return;
        }
        let text = std::fs::read("/proc/self/maps").unwrap();
        let files: Vec<_> = (text.split(|&byte| byte == b'\n'))
            .filter_map(Mapping::parse)
            .filter(|mapping| mapping.file.inode != 0)
            .map(|mapping| {
                let path = String::from_utf8_lossy(mapping.path).into_owned();
                (mapping.start, mapping.file, mapping.is_executable, path)
            })
            .collect();
        found.retain(|(_, file, ..)| file.inode != 0);
        assert!(!files.is_empty());
        assert_eq!(found, files);
    }
}
