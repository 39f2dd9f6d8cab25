//! Finds the registries that a process maps and opens them for reading.
//!
//! Only a memory file is ever opened: the name in the mappings is the process's
//! choice, and behind it could be a pipe that blocks or a file system of its
//! own making. Hence every file is checked before it is opened.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, Dir, MemfdFlags, Mode, OFlags, StatxFlags, fstat, major, memfd_create, minor,
    openat, statx,
};
use rustix::io::Errno;

use super::mapping::FileId;
use super::maps::MappedFile;
use super::proc::Process;
use crate::error::TargetError;
use crate::privilege::{self, Capability};

/// Descriptors of a process among which registries are looked for.
const DESCRIPTORS: usize = 65_536;

/// The registries of a process that were opened. They stay open: to open them again may take a capability
/// that was given up since.
pub type Opened = RefCell<Vec<(FileId, Rc<File>)>>;

/// Opens the registries that a process maps, each once. Adds to `known` what it opens.
///
/// # Errors
///
/// [`TargetError`] if the process cannot be read or has ended.
pub fn open_regions(
    process: &Process,
    mapped: &[MappedFile],
    known: &Opened,
) -> Result<Vec<Rc<File>>, TargetError> {
    let device = memory_file_device()
        .map_err(|error| process.error("identify the memory files of", error))?;
    let is_memory_file = |mapped: &&MappedFile| mapped.file.device == device;
    let mut mapped: Vec<_> = mapped.iter().filter(is_memory_file).collect();
    // In the order in which they were made.
    mapped.sort_by_key(|mapped| mapped.file.inode);
    let mut known = known.borrow_mut();
    known.retain(|(file, _)| mapped.iter().any(|mapped| mapped.file == *file));
    let mut denied = Vec::new();
    for mapped in mapped {
        if !is_known(&known, mapped.file) {
            match open_by_mapping(process, mapped) {
                Ok(region) => known.push((mapped.file, Rc::new(region))),
                Err(error) => denied.push((mapped.file, error)),
            }
        }
    }
    // To open a mapping takes a capability, to open a descriptor of the own user's processes none.
    if !denied.is_empty() {
        let files: Vec<_> = denied.iter().map(|&(file, _)| file).collect();
        open_by_descriptors(process, &files, &mut known)
            .map_err(|error| process.error("list the open files of", error))?;
    }
    // A program that closed every descriptor it did not know still has the mapping.
    if let Some((_, error)) = denied
        .into_iter()
        .find(|(file, _)| !is_known(&known, *file))
    {
        return Err(denied_mapping(process, error));
    }
    Ok(known.iter().map(|(_, region)| Rc::clone(region)).collect())
}

/// Returns whether a process maps a file where it did.
pub fn is_mapped(process: &Process, mapped: &MappedFile) -> bool {
    let path = mapping_path(mapped);
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    process
        .ask(move |directory| Ok(statx(directory, path, flags, StatxFlags::TYPE)?))
        .is_ok()
}

fn is_known(opened: &[(FileId, Rc<File>)], file: FileId) -> bool {
    opened.iter().any(|(known, _)| *known == file)
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
    files: &[FileId],
    opened: &mut Vec<(FileId, Rc<File>)>,
) -> io::Result<()> {
    let directory = process.open_file("fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
    for entry in Dir::read_from(&directory)?.take(DESCRIPTORS) {
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
        if files.contains(&file)
            && !is_known(opened, file)
            && let Ok(region) = open_checked(process, &format!("fd/{name}"), file)
        {
            opened.push((file, Rc::new(region)));
        }
        if files.iter().all(|&file| is_known(opened, file)) {
            break;
        }
    }
    Ok(())
}

fn open_by_mapping(process: &Process, mapped: &MappedFile) -> io::Result<File> {
    open_checked(process, &mapping_path(mapped), mapped.file)
}

/// Where `/proc` has a mapping.
pub(super) fn mapping_path(mapped: &MappedFile) -> String {
    let Range { start, end } = mapped.range;
    format!("map_files/{start:x}-{end:x}")
}

fn denied_mapping(process: &Process, error: io::Error) -> TargetError {
    let action = "open the registry, whose descriptor was closed, of";
    match Errno::from_io_error(&error) {
        Some(Errno::PERM | Errno::ACCESS) if process.is_alive() => TargetError::NoPermission {
            pid: process.pid(),
            name: process.name().to_owned(),
            action,
            missing: privilege::missing(&[Capability::CHECKPOINT_RESTORE, Capability::SYS_ADMIN]),
        },
        _ => process.error(action, error),
    }
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
    // A file on which the process has a lease is not waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(CWD, path, flags, Mode::empty())?.into())
}

fn file_id(directory: &File, path: &str, flags: AtFlags) -> io::Result<FileId> {
    let found = statx(directory, path, flags, StatxFlags::INO)?;
    Ok(FileId {
        device: (found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
    })
}
