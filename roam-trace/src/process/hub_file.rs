//! Finds the files of shared-memory hubs that a process maps, and opens them for reading.
//!
//! What a process maps is its choice: a device that acts when it is opened, or a file of a file system that never
//! answers. Hence only regular files are opened, and everything is done by the thread that is given up after a while.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use roam_dump::decode::printable;
use roam_dump::model::HubFile;
use roam_dump::shm::layout::MAGIC;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, openat, readlinkat, statx,
};

use super::deadline::within_deadline;
use super::maps::MappedFile;
use super::proc::{Process, open_at};
use super::region::mapping_path;
use super::target::Target;

/// Descriptors of a process among which hubs are looked for.
const DESCRIPTORS: usize = 16_384;

/// What the kernel puts behind the name of a file that is unlinked.
const DELETED: &[u8] = b" (deleted)";

/// A hub that a process maps.
#[derive(Debug, Clone)]
pub struct MappedHub {
    /// Its file.
    pub file: HubFile,
    /// The name of the file, printable.
    pub path: Arc<str>,
    /// Whether the file is unlinked.
    pub is_deleted: bool,
    /// The file, open for reading.
    pub handle: Arc<File>,
}

/// Opens the hubs that a process maps. What cannot be opened or is no hub is left out.
pub fn mapped_hubs(target: &Target) -> Vec<MappedHub> {
    let Ok(mappings) = target.mappings() else {
        return Vec::new();
    };
    let candidates = mappings.hubs.iter().filter(|mapped| {
        // Memory without a file has no name that starts so.
        mapped.path.starts_with(b"/") && !mapped.path.starts_with(b"/dev/zero")
    });
    let mut hubs = Vec::new();
    for mapped in candidates {
        match open_mapped(&target.process, mapped) {
            Ok(Some(hub)) => hubs.push(hub),
            Ok(None) => {}
            Err(error) => {
                let path = printable(&mapped.path);
                log::info!("{path}, which {} maps, is not read: {error}", target.pid());
            }
        }
    }
    hubs
}

/// Opens a hub by its path.
///
/// # Errors
///
/// The error of the system call; [`ErrorKind::InvalidInput`] if it is no regular file.
pub fn open_path(path: &Path) -> io::Result<MappedHub> {
    let owned = path.to_owned();
    let (file, handle) = within_deadline(move || {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let handle = openat(CWD, &owned, flags, Mode::empty())?;
        let regular = open_regular(&handle)?;
        regular.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it is no regular file"))
    })?;
    Ok(MappedHub {
        file,
        path: printable(path.as_os_str().as_encoded_bytes()).into(),
        is_deleted: false,
        handle: Arc::new(handle),
    })
}

/// Opens the file behind a mapping, if it is a hub: by the mapping, which takes a capability, or else by a descriptor.
fn open_mapped(process: &Process, mapped: &MappedFile) -> io::Result<Option<MappedHub>> {
    let (path, inode, device) = (mapped.path.clone(), mapped.file.inode, mapped.file.device);
    let mapping = mapping_path(mapped);
    let opened = process.ask(move |directory| {
        let by_mapping = open_at(directory, &mapping, OFlags::PATH).map(OwnedFd::from);
        let handle = match by_mapping {
            Ok(handle) => handle,
            Err(error) => match find_descriptor(directory, &path, (device, inode))? {
                Some(handle) => handle,
                None => return Err(error),
            },
        };
        let Some((file, handle)) = open_regular(&handle)? else {
            return Ok(None);
        };
        let mut magic = [0; MAGIC.len()];
        let got = handle.read_at(&mut magic, 0)?;
        Ok((got == magic.len() && magic == MAGIC).then_some((file, handle)))
    })?;
    Ok(opened.map(|(file, handle)| {
        let name = mapped.path.strip_suffix(DELETED);
        MappedHub {
            file,
            path: printable(name.unwrap_or(&mapped.path)).into(),
            is_deleted: name.is_some(),
            handle: Arc::new(handle),
        }
    }))
}

/// Finds a descriptor of a mapped file. Some file systems give a mapping another device than the file: then the name
/// counts.
fn find_descriptor(
    directory: &OwnedFd,
    path: &[u8],
    (device, inode): ((u32, u32), u64),
) -> io::Result<Option<OwnedFd>> {
    let list = open_at(directory, "fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
    for entry in Dir::read_from(&list)?.take(DESCRIPTORS) {
        let entry = entry?;
        let name = entry.file_name();
        let flags = AtFlags::STATX_DONT_SYNC;
        let Ok(found) = statx(&list, name, flags, StatxFlags::INO) else {
            continue;
        };
        let is_same = found.stx_ino == inode
            && ((found.stx_dev_major, found.stx_dev_minor) == device || is_link(&list, name, path));
        if is_same {
            let handle = openat(&list, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            return Ok(Some(handle));
        }
    }
    Ok(None)
}

/// Returns whether a process has a file open.
pub(super) fn has_open(process: &Process, file: HubFile) -> bool {
    let found = process.ask(move |directory| {
        let device = (file.device_major, file.device_minor);
        find_descriptor(directory, b"", (device, file.inode))
    });
    matches!(found, Ok(Some(_)))
}

fn is_link(list: &File, name: &CStr, path: &[u8]) -> bool {
    readlinkat(list, name, Vec::new()).is_ok_and(|link| link.as_bytes() == path)
}

/// Opens what a handle without access stands for, if it is a regular file: nothing else is ever opened.
fn open_regular(handle: &OwnedFd) -> io::Result<Option<(HubFile, File)>> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(handle, c"", flags, StatxFlags::INO | StatxFlags::TYPE)?;
    if FileType::from_raw_mode(found.stx_mode.into()) != FileType::RegularFile {
        return Ok(None);
    }
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    // A file on which the process has a lease is not waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    let id = HubFile {
        device_major: found.stx_dev_major,
        device_minor: found.stx_dev_minor,
        inode: found.stx_ino,
    };
    Ok(Some((id, file)))
}
