//! Attacks by pages of memory that are not there.

use std::fs::File;
use std::io::Result as IoResult;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::null_mut;

use anyhow::Result;
use linux_raw_sys::general::{uffdio_api, uffdio_range, uffdio_register};
use roam_trace_common::registry::{HEADER_BYTES, REGION_NAME};

use crate::registry::{map, memory_file, named_memory_file};
use crate::siege::{Siege, check};

const HUGE_PAGE: usize = 2 << 20;
/// The least that an unprivileged user may have.
const USER_MODE_ONLY: i32 = 1;
const API: u64 = 0xAA;
const MISSING: u64 = 1;

/// A registry on huge pages that nobody reserved; and one whose pages, like others of its process, the process itself is
/// to provide: it never does.
pub(crate) fn missing_pages(siege: &mut Siege) -> Result<()> {
    siege.start(|| {
        let file = named_memory_file(REGION_NAME, libc::MFD_HUGETLB)?;
        file.set_len(HUGE_PAGE as u64)?;
        map_unreserved(libc::MAP_SHARED, file.as_raw_fd())?;
        std::mem::forget(file);
        Ok(())
    })?;
    siege.start(|| {
        let file = memory_file()?;
        file.set_len(HEADER_BYTES as u64)?;
        let registry = map(&file, HEADER_BYTES, libc::PROT_READ | libc::PROT_WRITE)?;
        let own = map_unreserved(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        // SAFETY: takes a number.
        let faults = check(unsafe { libc::syscall(libc::SYS_userfaultfd, USER_MODE_ONLY) })?;
        // SAFETY: a fresh descriptor that nothing else owns.
        let faults = unsafe { File::from_raw_fd(faults as i32) };
        let mut api = uffdio_api {
            api: API,
            features: 0,
            ioctls: 0,
        };
        request(&faults, 0x3F, &mut api)?;
        for (start, bytes) in [(registry, HEADER_BYTES), (own, HUGE_PAGE)] {
            let mut register = uffdio_register {
                range: uffdio_range {
                    start: start as u64,
                    len: bytes as u64,
                },
                mode: MISSING,
                ioctls: 0,
            };
            request(&faults, 0, &mut register)?;
        }
        std::mem::forget((file, faults));
        Ok(())
    })?;
    Ok(())
}

fn map_unreserved(flags: i32, file: i32) -> IoResult<usize> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = flags | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address that the kernel chooses.
    let address = unsafe { libc::mmap(null_mut(), HUGE_PAGE, protection, flags, file, 0) };
    Ok(check(address as i64)? as usize)
}

/// Makes a request of `userfaultfd`, which reads and writes its argument.
fn request<T>(faults: &File, number: u64, argument: &mut T) -> IoResult<()> {
    let code = 3 << 30 | (size_of::<T>() as u64) << 16 | API << 8 | number;
    // SAFETY: the kernel takes the size of the argument from the code.
    check(unsafe { libc::ioctl(faults.as_raw_fd(), code, argument) }.into())?;
    Ok(())
}
