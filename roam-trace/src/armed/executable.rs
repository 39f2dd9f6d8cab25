//! Files that are armed, or are to be.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use roam_dump::decode::printable;
use roam_trace_common::armed::{ExecutableValue, FileKey, PATH_BYTES};
use zerocopy::FromZeros;

use crate::attach::ProbedFile;
use crate::process::mapping::FileId;

/// A file whose probes are to be armed.
#[derive(Debug)]
pub struct ToArm {
    /// Where it is now, as `armed` shows it and `arm --watch` looks for another one.
    pub path: PathBuf,
    /// What of it is attached to.
    pub file: ProbedFile,
}

/// An armed executable or library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// The file.
    pub file: FileId,
    /// Where it was when it was armed. Whoever armed it chose the name.
    pub path: PathBuf,
    /// When all its probes were attached, `CLOCK_MONOTONIC` nanoseconds of the initial time namespace.
    pub armed_ns: u64,
    /// The same moment, `CLOCK_BOOTTIME` nanoseconds of that namespace.
    pub armed_boot_ns: u64,
    /// When its content had been modified last.
    pub(super) modified_ns: u64,
}

/// What tells a file, and its content, from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The file.
    pub file: FileId,
    /// When its content was modified last, nanoseconds since 1970.
    pub modified_ns: u64,
}

impl Version {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::by(&metadata))
    }

    /// Returns that of the file at a path.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::by(&metadata))
    }

    fn by(metadata: &Metadata) -> Self {
        let secs = metadata.mtime().unsigned_abs();
        Self {
            file: FileId {
                device: (libc::major(metadata.dev()), libc::minor(metadata.dev())),
                inode: metadata.ino(),
            },
            modified_ns: secs
                .wrapping_mul(1_000_000_000)
                .wrapping_add(metadata.mtime_nsec().unsigned_abs()),
        }
    }
}

impl Executable {
    pub(super) fn of((key, value): (FileKey, ExecutableValue)) -> Self {
        let path = &value.path[..(value.path_bytes as usize).min(PATH_BYTES)];
        Self {
            file: file_id(key),
            path: PathBuf::from(OsString::from_vec(path.to_vec())),
            armed_ns: value.armed_ns,
            armed_boot_ns: value.armed_boot_ns,
            modified_ns: value.modified_ns,
        }
    }

    /// Returns the file as it was when it was armed.
    pub fn version(&self) -> Version {
        Version {
            file: self.file,
            modified_ns: self.modified_ns,
        }
    }

    pub(super) fn value(&self) -> ExecutableValue {
        let mut value = ExecutableValue {
            armed_ns: self.armed_ns,
            armed_boot_ns: self.armed_boot_ns,
            modified_ns: self.modified_ns,
            ..ExecutableValue::new_zeroed()
        };
        let path = self.path.as_os_str().as_bytes();
        let path = &path[..path.len().min(PATH_BYTES)];
        value.path[..path.len()].copy_from_slice(path);
        value.path_bytes = path.len() as u32;
        value
    }
}

pub(super) fn key_of(file: FileId) -> FileKey {
    FileKey {
        device_major: file.device.0,
        device_minor: file.device.1,
        inode: file.inode,
    }
}

fn file_id(key: FileKey) -> FileId {
    FileId {
        device: (key.device_major, key.device_minor),
        inode: key.inode,
    }
}

/// The directory of an executable's links. bpffs allows no dots in names.
pub(super) fn directory_name(file: FileId) -> String {
    let FileId {
        device: (major, minor),
        inode,
    } = file;
    format!("{major}-{minor}-{inode}")
}

/// A path as it is shown. Whoever runs a program chose the name of its file.
pub fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}
