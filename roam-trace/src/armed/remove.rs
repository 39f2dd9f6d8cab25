//! Disarms: takes pins away, which has the kernel detach what they held. Closes no link itself.

use std::path::PathBuf;

use roam_trace_common::armed::{ExecutableValue, FileKey};

use super::directory::{self, Directory, Lock};
use super::error::ArmedError;
use super::executable::{Executable, Version, directory_name, key_of};
use super::set::{self, EXECUTABLES, PinnedMaps, SET, open_map};
use crate::bpf::Access;
use crate::kernel::TableMut;
use crate::process::mapping::FileId;

/// What was disarmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// Everything.
    Set,
    /// Some executables; the others remain.
    Executables(usize),
}

/// Removes the set, whatever it is: also one of another version, half a set, or one that another user made.
///
/// # Errors
///
/// [`ArmedError`].
pub fn disarm_all() -> Result<(), ArmedError> {
    match Directory::find_untrusted(Lock::Exclusive)? {
        Some(directory) => directory.remove_all(SET),
        None => Err(ArmedError::NotArmed {
            path: directory::path(),
        }),
    }
}

/// Removes the executables at some paths: those that were armed by a path, and those that are there now.
///
/// # Errors
///
/// [`ArmedError`] also if one of them is not armed.
pub fn disarm(paths: &[PathBuf]) -> Result<Removed, ArmedError> {
    let Some(directory) = Directory::find(Lock::Exclusive)? else {
        return Err(ArmedError::NotArmed {
            path: directory::path(),
        });
    };
    set::check(&directory)?;
    let armed = PinnedMaps::open(&directory)?.executables()?;
    let mut found: Vec<FileId> = Vec::new();
    for path in paths {
        let id = Version::at(path).ok().map(|version| version.file);
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let is_meant = |armed: &&Executable| armed.path == absolute || Some(armed.file) == id;
        let before = found.len();
        found.extend(armed.iter().filter(is_meant).map(|armed| armed.file));
        if found.len() == before {
            return Err(ArmedError::NoExecutable { path: path.clone() });
        }
    }
    if armed.iter().all(|armed| found.contains(&armed.file)) {
        directory.remove_all(SET)?;
        return Ok(Removed::Set);
    }
    remove(&directory, &found)?;
    Ok(Removed::Executables(found.len()))
}

/// Removes files from the set, if there is one. It may be without executables then.
pub(super) fn disarm_files(files: &[FileId]) -> Result<(), ArmedError> {
    let Some(directory) = Directory::find(Lock::Exclusive)? else {
        return Ok(());
    };
    set::check(&directory)?;
    remove(&directory, files)
}

/// Removes files. Their entries first: readers then believe no rows of theirs.
fn remove(directory: &Directory, files: &[FileId]) -> Result<(), ArmedError> {
    let mut map = open_map(directory, EXECUTABLES, Access::ReadAndWrite)?;
    let mut table = TableMut::<FileKey, ExecutableValue>::of(&mut map, EXECUTABLES)?;
    for &file in files {
        table.remove(key_of(file))?;
        directory.remove(&directory_name(file))?;
    }
    Ok(())
}
