//! Why probes cannot be armed, or what is armed not be read, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::executable::shown;
use crate::attach::AttachError;
use crate::error::Exit;
use crate::kernel::MapAccessError;
use crate::privilege;

/// Why probes cannot be armed, or what is armed not be read.
#[derive(Debug, Error)]
pub enum ArmedError {
    /// There is no bpffs to pin in.
    #[error(
        "bpffs is not mounted at {}; run `mount -t bpf bpf {}`",
        shown(path),
        shown(path)
    )]
    NotMounted {
        /// Where it should be.
        path: PathBuf,
    },
    /// Nothing can be pinned.
    #[error(
        "bpffs is read-only at {}; run `mount -o remount,rw {}`",
        shown(path),
        shown(path)
    )]
    ReadOnly {
        /// Where it is mounted.
        path: PathBuf,
    },
    /// Access was denied.
    #[error("no permission to {action} {}; {}", shown(path), privilege::advice())]
    Denied {
        /// What was denied, for example `open`.
        action: &'static str,
        /// Of what.
        path: PathBuf,
    },
    /// Another user made it, or can change it.
    #[error(
        "{} is not trusted, because {why}; see who made it, then remove it with `roam-trace disarm`",
        shown(path)
    )]
    Untrusted {
        /// The directory or pin.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another version of this program made the set.
    #[error(
        "the probes in {} were armed by another version of roam-trace; run `roam-trace disarm`, then arm them again",
        shown(path)
    )]
    Version {
        /// The directory of the set.
        path: PathBuf,
    },
    /// The set was not finished, or parts of it were removed.
    #[error(
        "the set of pins in {} is incomplete (no {missing}); run `roam-trace disarm`, then arm the probes again",
        shown(path)
    )]
    Incomplete {
        /// The directory of the set.
        path: PathBuf,
        /// What it lacks.
        missing: String,
    },
    /// The pids in the maps are those of other processes here.
    #[error(
        "the probes in {} were armed in another pid namespace; run roam-trace there",
        shown(path)
    )]
    Namespace {
        /// The directory of the set.
        path: PathBuf,
    },
    /// The directory is locked.
    #[error(
        "another roam-trace arms or disarms probes in {}; run this again",
        shown(path)
    )]
    Busy {
        /// The directory of the set.
        path: PathBuf,
    },
    /// Nothing is armed.
    #[error("nothing is armed in {}; run `roam-trace arm`", shown(path))]
    NotArmed {
        /// The directory that there is not.
        path: PathBuf,
    },
    /// No armed executable is at a path.
    #[error("{} is not armed; `roam-trace armed` lists what is", shown(path))]
    NoExecutable {
        /// The path.
        path: PathBuf,
    },
    /// The set has no room for a further executable.
    #[error(
        "the set has no room for more executables; disarm those that are not needed with `roam-trace disarm --exe PATH`"
    )]
    Full,
    /// A system call failed.
    #[error("cannot {action} {}: {source}", shown(path))]
    Io {
        /// What failed, for example `open`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The programs could not be loaded or attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A map could not be read or written.
    #[error(transparent)]
    Maps(#[from] MapAccessError),
}

impl ArmedError {
    /// Why something could not be done with a directory or a pin.
    pub(super) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied { action, path },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// Returns the exit status for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Denied { .. } | Self::Attach(AttachError::Permission { .. }) => {
                Exit::NoPermission
            }
            _ => Exit::Failure,
        }
    }
}
