//! Attacks by what a process maps: long paths, and memory that many share.

use std::fs::File;
use std::io::Result as IoResult;
use std::ptr::null_mut;

use anyhow::Result;
use roam_trace_common::registry::HEADER_BYTES;

use crate::private;
use crate::registry::{map, publish_empty};
use crate::siege::{Siege, check};

/// The longest name of a file.
const NAME_BYTES: usize = 255;

/// One file, so deep that its path is far longer than a path may be, mapped again and again.
pub(crate) fn deep(siege: &mut Siege, depth: u32, mappings: u32) -> Result<()> {
    siege.start(|| {
        private::enter_empty_directory()?;
        let name = "d".repeat(NAME_BYTES);
        for _ in 0..depth {
            std::fs::create_dir(&name)?;
            std::env::set_current_dir(&name)?;
        }
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open("f")?;
        file.set_len(HEADER_BYTES as u64)?;
        (0..mappings).try_for_each(|_| map(&file, HEADER_BYTES, libc::PROT_READ).map(drop))
    })?;
    Ok(())
}

/// Memory that every two of the processes share.
pub(crate) fn shared(siege: &mut Siege, processes: u32, mappings: u32) -> Result<()> {
    for _ in 0..mappings {
        share()?;
    }
    for _ in 0..processes {
        siege.start(publish_empty)?;
    }
    Ok(())
}

fn share() -> IoResult<()> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping at an address that the kernel chooses, never accessed.
    let address = unsafe { libc::mmap(null_mut(), HEADER_BYTES, libc::PROT_READ, flags, -1, 0) };
    check(address as i64).map(drop)
}
