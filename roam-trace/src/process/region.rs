//! Finds the registries that a process maps and opens them for reading.
//!
//! Only a memory file is ever opened: the name in the mappings is the process's
//! choice, and behind it could be a pipe that blocks or a file system of its
//! own making. Hence every file is checked before it is opened.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use roam_trace_common::registry::REGION_NAME;
use rustix::fs::{
    AtFlags, CWD, Dir, MemfdFlags, Mode, OFlags, StatxFlags, fstat, major, memfd_create, minor,
    openat, statx,
};
use rustix::io::Errno;

use super::maps::{FileId, for_each_mapping};
use super::proc::Process;
use crate::error::TargetError;
use crate::privilege::{self, Capability};

/// Registries of one process that are opened: a program has one, a few with libraries of its own.
const MAX_REGIONS: usize = 64;

/// The registries of a process that were opened. They stay open: to open them again may take a capability
/// that was given up since.
pub type Opened = RefCell<Vec<(FileId, Rc<File>)>>;

/// The registries of a process.
pub struct Regions {
    /// Opened, each once.
    pub files: Vec<Rc<File>>,
    /// Whether there are more registries than are opened.
    pub is_cut: bool,
}

/// A mapping of a registry.
struct Mapped {
    file: FileId,
    start: u64,
    end: u64,
}

/// Opens the registries that a process maps, each once. Adds to `known` what it opens.
///
/// # Errors
///
/// [`TargetError`] if the process cannot be read or has ended.
pub fn open_regions(process: &Process, known: &Opened) -> Result<Regions, TargetError> {
    let mut mappings = mappings(process)?;
    let device = memory_file_device()
        .map_err(|error| process.error("identify the memory files of", error))?;
    mappings.retain(|mapping| mapping.file.device == device);
    let is_cut = mappings.len() > MAX_REGIONS;
    mappings.truncate(MAX_REGIONS);
    let mut known = known.borrow_mut();
    let is_mapped = |file: &FileId| mappings.iter().any(|mapping| mapping.file == *file);
    known.retain(|(file, _)| is_mapped(file));
    if known.len() < mappings.len() {
        open_by_descriptors(process, &mappings, &mut known)
            .map_err(|error| process.error("list the open files of", error))?;
    }
    // A program that closed every descriptor it did not know still has the mapping.
    for mapping in &mappings {
        if !is_known(&known, mapping.file) {
            let region = open_by_mapping(process, mapping)?;
            known.push((mapping.file, Rc::new(region)));
        }
    }
    let files = known.iter().map(|(_, region)| Rc::clone(region)).collect();
    Ok(Regions { files, is_cut })
}

fn is_known(opened: &[(FileId, Rc<File>)], file: FileId) -> bool {
    opened.iter().any(|(known, _)| *known == file)
}

/// Lists the mappings with the name of a registry, each file once.
fn mappings(process: &Process) -> Result<Vec<Mapped>, TargetError> {
    let name = format!("/memfd:{REGION_NAME} (deleted)").into_bytes();
    let mut found: Vec<Mapped> = Vec::new();
    for_each_mapping(process, |mapping| {
        if mapping.path == name
            && found.len() <= MAX_REGIONS
            && !found.iter().any(|known| known.file == mapping.file)
        {
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

fn open_by_descriptors(
    process: &Process,
    mappings: &[Mapped],
    opened: &mut Vec<(FileId, Rc<File>)>,
) -> io::Result<()> {
    let directory = process.open_file("fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
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
            && !is_known(opened, file)
            && let Ok(region) = open_checked(process, &format!("fd/{name}"), file)
        {
            opened.push((file, Rc::new(region)));
        }
        if opened.len() == mappings.len() {
            break;
        }
    }
    Ok(())
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
                    Capability::CHECKPOINT_RESTORE,
                    Capability::SYS_ADMIN,
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
