//! The directory of the pins: where it is, whether it can be believed, and who may change it now.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{
    CWD, FlockOperation, Mode, OFlags, flock, fstat, fstatfs, lstat, mkdirat, open, openat,
};
use rustix::io::Errno;

use super::error::ArmedError;
use crate::bpf::{self, Access};
use crate::privilege;

/// Where sets are pinned.
const DIRECTORY: &str = "/sys/fs/bpf/roam-trace";

/// Another directory, for tests. It must be on a bpffs too.
const VARIABLE: &str = "ROAM_TRACE_PINS";

/// Of `statfs`, what a bpffs has as its type.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// How long another arming or disarming is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Only root may look into it: names of pins tell what is armed.
const DIRECTORY_MODE: Mode = Mode::RWXU;

/// Who may change something by its group or as anybody.
const WRITABLE: u32 = 0o022;

/// Returns where the pins are.
pub(super) fn path() -> PathBuf {
    // Whoever runs a program with more privileges than its user's does not choose what it reads.
    match std::env::var_os(VARIABLE) {
        Some(path) if !privilege::is_elevated() => path.into(),
        _ => DIRECTORY.into(),
    }
}

/// What a lock is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Nobody changes the set meanwhile.
    Shared,
    /// Nobody else looks at it.
    Exclusive,
}

/// The directory of the pins: locked, root's, and nobody else's to change, unless [`Directory::find_untrusted`] found it.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    directory: OwnedFd,
}

impl Directory {
    /// Opens the directory; `None` if there is none.
    pub(super) fn find(lock: Lock) -> Result<Option<Self>, ArmedError> {
        let Some(found) = Self::find_untrusted(lock)? else {
            return Ok(None);
        };
        check(&found.directory, &found.path)?;
        Ok(Some(found))
    }

    /// The same, whoever it belongs to: to remove it. One that is not root's is not locked, since its owner could hold the
    /// lock for ever.
    pub(super) fn find_untrusted(lock: Lock) -> Result<Option<Self>, ArmedError> {
        let path = path();
        let failed = |error: Errno| ArmedError::io("open", &path, error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let directory = match open(&path, flags, Mode::empty()) {
                Ok(directory) => directory,
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            if check(&directory, &path).is_err() {
                return Ok(Some(Self { path, directory }));
            }
            let wanted = match lock {
                Lock::Shared => FlockOperation::NonBlockingLockShared,
                Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
            };
            match flock(&directory, wanted) {
                // Who had the lock may have removed the directory.
                Ok(()) if is_at(&directory, &path) => return Ok(Some(Self { path, directory })),
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => return Err(ArmedError::Busy { path }),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Opens the directory to change it; makes it if there is none.
    pub(super) fn find_or_make() -> Result<Self, ArmedError> {
        let path = path();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let is_bpffs = |path: &Path| {
            let directory = File::open(path)?;
            Ok::<bool, io::Error>(fstatfs(&directory)?.f_type as u32 == BPF_FS_MAGIC)
        };
        match is_bpffs(parent) {
            Ok(true) => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(ArmedError::io("open", parent, error));
            }
            Ok(false) | Err(_) => {
                return Err(ArmedError::NotMounted {
                    path: parent.to_owned(),
                });
            }
        }
        loop {
            if let Some(found) = Self::find(Lock::Exclusive)? {
                return Ok(found);
            }
            match mkdirat(CWD, &path, DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::ROFS) => {
                    return Err(ArmedError::ReadOnly {
                        path: parent.to_owned(),
                    });
                }
                Err(error) => return Err(ArmedError::io("make", &path, error)),
            }
        }
    }

    /// Where a pin is.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory in it.
    pub(super) fn make(&self, name: &str) -> Result<(), ArmedError> {
        mkdirat(&self.directory, name, DIRECTORY_MODE).map_err(|error| {
            let path = self.at(name);
            match error {
                Errno::ROFS => ArmedError::ReadOnly {
                    path: self.path.clone(),
                },
                error => ArmedError::io("make", &path, error),
            }
        })
    }

    /// Pins a map, a program or a link.
    pub(super) fn pin(&self, object: &impl AsFd, name: &str) -> Result<(), ArmedError> {
        let path = self.at(name);
        bpf::pin(object.as_fd(), &path).map_err(|error| ArmedError::io("pin", &path, error))
    }

    /// Opens what is pinned, unless another user could have pinned it.
    pub(super) fn open(&self, name: &str, access: Access) -> Result<OwnedFd, ArmedError> {
        let path = self.at(name);
        let failed = |error: Errno| match error {
            Errno::NOENT => ArmedError::Incomplete {
                path: self.path.clone(),
                missing: name.to_owned(),
            },
            error => ArmedError::io("open", &path, error),
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pin = openat(&self.directory, name, flags, Mode::empty()).map_err(failed)?;
        check(&pin, &path)?;
        // By the descriptor, so that it is what was checked.
        let checked = PathBuf::from(format!("/proc/self/fd/{}", pin.as_raw_fd()));
        bpf::open(&checked, access).map_err(|error| ArmedError::io("open", &path, error))
    }

    /// Returns whether nothing is in it.
    pub(super) fn is_empty(&self) -> Result<bool, ArmedError> {
        let mut entries = std::fs::read_dir(&self.path)
            .map_err(|error| ArmedError::io("list", &self.path, error))?;
        Ok(entries.next().is_none())
    }

    /// Removes a directory of pins, if there is one. What was attached is detached by the kernel, soon after.
    pub(super) fn remove(&self, name: &str) -> Result<(), ArmedError> {
        let path = self.at(name);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(ArmedError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes it with everything in it, `first` first.
    pub(super) fn remove_all(self, first: &str) -> Result<(), ArmedError> {
        let failed = |error: io::Error| match Errno::from_io_error(&error) {
            Some(Errno::ROFS) => ArmedError::ReadOnly {
                path: self.path.clone(),
            },
            _ => ArmedError::io("remove", &self.path, error),
        };
        match std::fs::remove_file(self.at(first)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::remove_dir_all(&self.path).map_err(failed)
    }
}

/// Whether a directory that is open is the one at a path.
fn is_at(directory: &OwnedFd, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (fstat(directory), lstat(path)) else {
        return false;
    };
    (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
}

/// Makes sure that nobody but root could have made or changed something.
fn check(opened: &OwnedFd, path: &Path) -> Result<(), ArmedError> {
    let failed = |error: Errno| ArmedError::io("open", path, error);
    let untrusted = |why: String| ArmedError::Untrusted {
        path: path.to_owned(),
        why,
    };
    let (status, system) = (
        fstat(opened).map_err(failed)?,
        fstatfs(opened).map_err(failed)?,
    );
    if system.f_type as u32 != BPF_FS_MAGIC {
        return Err(untrusted("it is not on a bpffs".to_owned()));
    }
    if status.st_uid != 0 {
        return Err(untrusted(format!("it belongs to uid {}", status.st_uid)));
    }
    match status.st_mode & WRITABLE {
        0 => Ok(()),
        _ => Err(untrusted("others than root may change it".to_owned())),
    }
}
