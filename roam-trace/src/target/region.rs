//! Finds the registries that a process maps and opens them for reading.
//!
//! Only a memory file is ever opened: the name in the mappings is the process's
//! choice, and behind it could be a pipe that blocks or a file system of its
//! own making. Hence every file is looked at before it is opened.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use caps::Capability;
use roam_trace_common::registry::REGION_NAME;
use rustix::fs::{
    AtFlags, CWD, Dir, MemfdFlags, Mode, OFlags, StatxFlags, fstat, major, memfd_create, minor,
    openat, statx,
};
use rustix::io::Errno;

use super::maps::{FileId, for_each_mapping};
use super::privilege;
use super::proc::Process;
use crate::error::TargetError;

/// One place where a process maps a registry.
struct Mapped {
    file: FileId,
    start: u64,
    end: u64,
}

/// The registries that a process maps, opened, each once.
///
/// # Errors
///
/// Where the process may not be looked at or ended.
pub fn open_regions(process: &Process) -> Result<Vec<File>, TargetError> {
    let mut mappings = mappings(process)?;
    let device = memory_file_device()
        .map_err(|error| process.error("tell memory files from other files of", error))?;
    mappings.retain(|mapping| mapping.file.device == device);
    if mappings.is_empty() {
        return Ok(Vec::new());
    }
    let mut opened = open_by_descriptors(process, &mappings)
        .map_err(|error| process.error("look at the open files of", error))?;
    // A program that closed every descriptor it did not know still has the mapping.
    for mapping in &mappings {
        if !opened.iter().any(|(file, _)| *file == mapping.file) {
            opened.push((mapping.file, open_by_mapping(process, mapping)?));
        }
    }
    Ok(opened.into_iter().map(|(_, region)| region).collect())
}

/// Every mapping with the name of a registry, each file once.
fn mappings(process: &Process) -> Result<Vec<Mapped>, TargetError> {
    let name = format!("/memfd:{REGION_NAME} (deleted)").into_bytes();
    let mut found: Vec<Mapped> = Vec::new();
    for_each_mapping(process, |mapping| {
        if mapping.path == name && !found.iter().any(|known| known.file == mapping.file) {
            found.push(Mapped {
                file: mapping.file,
                start: mapping.start,
                end: mapping.end,
            });
        }
    })?;
    Ok(found)
}

/// The device on which the kernel keeps memory files, and nothing else.
fn memory_file_device() -> io::Result<(u32, u32)> {
    let flags = MemfdFlags::CLOEXEC;
    // Linux before 6.3 does not know NOEXEC_SEAL, later ones may insist on it.
    let file = match memfd_create("roam-trace", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create("roam-trace", flags),
        result => result,
    }?;
    let device = fstat(&file)?.st_dev;
    Ok((major(device), minor(device)))
}

fn open_by_descriptors(process: &Process, mappings: &[Mapped]) -> io::Result<Vec<(FileId, File)>> {
    let directory = process.open_file("fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut opened: Vec<(FileId, File)> = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        // Without this a network file system would be asked, and could keep us waiting.
        let flags = AtFlags::STATX_DONT_SYNC;
        let Ok(file) = file_id(&directory, name, flags) else {
            continue;
        };
        if mappings.iter().any(|mapping| mapping.file == file)
            && !opened.iter().any(|(known, _)| *known == file)
            && let Ok(region) = open_checked(process, &format!("fd/{name}"), file)
        {
            opened.push((file, region));
        }
        if opened.len() == mappings.len() {
            break;
        }
    }
    Ok(opened)
}

fn open_by_mapping(process: &Process, mapping: &Mapped) -> Result<File, TargetError> {
    let path = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
    open_checked(process, &path, mapping.file).map_err(|error| {
        let action = "open the registry, whose descriptor was closed, of";
        match Errno::from_io_error(&error) {
            Some(Errno::PERM | Errno::ACCESS) if process.is_alive() => TargetError::NoPermission {
                pid: process.pid(),
                name: process.name().to_owned(),
                action,
                missing: privilege::missing(&[
                    Capability::CAP_CHECKPOINT_RESTORE,
                    Capability::CAP_SYS_ADMIN,
                ]),
            },
            _ => process.error(action, error),
        }
    })
}

/// Opens the file behind a link in `/proc`, if it is `expected`.
fn open_checked(process: &Process, path: &str, expected: FileId) -> io::Result<File> {
    // Opened as a path nothing happens to the file; whatever the process does to its
    // descriptors from here on, this handle stays what it is.
    let handle = process.open_file(path, OFlags::PATH)?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    if file_id(&handle, "", flags)? != expected {
        return Err(Errno::NOENT.into());
    }
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?.into())
}

fn file_id(directory: &File, path: &str, flags: AtFlags) -> io::Result<FileId> {
    let found = statx(directory, path, flags, StatxFlags::INO)?;
    Ok(FileId {
        device: (found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
    })
}
