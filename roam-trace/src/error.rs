//! What can go wrong with a target, in one line each, and the exit status it leads to.

use std::io;
use std::process::ExitCode;

use roam_dump::read::ReadError;
use thiserror::Error;

use crate::privilege::Missing;

/// The exit status of the whole command. The worst of several is the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for was printed.
    Success = 0,
    /// Anything that has no status of its own.
    Failure = 1,
    // 2 is a usage error; clap exits with it.
    /// No permission.
    NoPermission = 3,
    /// Not a roam program.
    NotATarget = 4,
    /// Something is stuck for as long as was asked about.
    Stuck = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why there is no dump of a process.
#[derive(Debug, Error)]
pub enum TargetError {
    /// There is none.
    #[error("cannot read process {pid}: it does not exist; `roam-trace list` lists the processes that can be read")]
    NoSuchProcess {
        /// The pid asked for.
        pid: u32,
    },
    /// Nothing can be inspected.
    #[error("cannot read process {pid}: /proc is not mounted here; mount it, or run roam-trace where it is mounted")]
    NoProc {
        /// The pid asked for.
        pid: u32,
    },
    /// It ended.
    #[error("cannot read process {pid}: it ended while it was read")]
    Ended {
        /// The process.
        pid: u32,
    },
    /// It ended while its probes were watched.
    #[error(
        "cannot dump process {pid}: it ended while its probes were attached, after {started} requests started and {ended} ended"
    )]
    EndedWhileWatched {
        /// The process.
        pid: u32,
        /// Requests that started while it was watched.
        started: u64,
        /// Requests that ended meanwhile.
        ended: u64,
    },
    /// It ended before.
    #[error("cannot read process {pid} ({name}): it is a zombie (not yet reaped by its parent)")]
    Zombie {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The kernel's own.
    #[error("cannot read process {pid} ({name}): it is a kernel thread, not a roam program")]
    KernelThread {
        /// The thread.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The system refuses to let it be inspected.
    #[error("no permission to {action} process {pid} ({name}): {missing}")]
    NoPermission {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// What was denied, for example `read`.
        action: &'static str,
        /// What would be needed.
        missing: Missing,
    },
    /// Nothing in it is roam's.
    #[error(
        "process {pid} ({name}) is not a roam program: it maps no registry (/memfd:roam-diagnostic), and its executable and libraries have no probes of provider roam; if it uses roam, rebuild it with the drop-in roam-session"
    )]
    NotATarget {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// Its files have no probes, and it was to be watched.
    #[error(
        "cannot attach to process {pid} ({name}): its executable and libraries have no probes of provider roam; keep .note.stapsdt when you strip them, or read the registry without -d"
    )]
    NoProbes {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// Its files say that there are probes where there are none.
    #[error("cannot attach to process {pid} ({name}): {refused}; read the registry without -d")]
    RefusedProbes {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// The file and what is wrong with its notes.
        refused: String,
    },
    /// Built on the published crate.
    #[error(
        "process {pid} ({name}) has neither registry nor probes: it is built with the published roam-session; select the drop-in roam-session in [patch.crates-io] and rebuild it"
    )]
    Published {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// A forked child.
    #[error(
        "process {pid} ({name}) has no registry of its own: it was forked from pid {owner}, and a forked child reports nothing; run roam-trace -p {owner}"
    )]
    Inherited {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// The pid that the registry is of, as its own namespace numbers it.
        owner: u32,
    },
    /// Started with reporting off.
    #[error(
        "process {pid} ({name}) reports nothing: it was started with ROAM_DIAGNOSTIC=off; restart it without that variable"
    )]
    SwitchedOff {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// It may not make a file as large as a registry.
    #[error(
        "cannot read the registry of process {pid} ({name}): RLIMIT_FSIZE ({bytes} bytes) is too small for a shared registry, so the registry is private; attach the probes with -d 5s, or restart the process with a higher limit"
    )]
    FileSizeLimit {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// The limit.
        bytes: u64,
    },
    /// Its registry makes no sense.
    #[error("cannot read the registry of process {pid} ({name}): {error}")]
    Registry {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// What is wrong.
        error: ReadError,
    },
    /// The system fails.
    #[error("cannot {action} process {pid} ({name}): {error}")]
    Io {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// What failed.
        action: &'static str,
        /// How.
        error: io::Error,
    },
}

impl TargetError {
    /// Returns the exit status that it leads to.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoPermission { .. } => Exit::NoPermission,
            Self::KernelThread { .. }
            | Self::NotATarget { .. }
            | Self::NoProbes { .. }
            | Self::RefusedProbes { .. }
            | Self::Published { .. }
            | Self::Inherited { .. } => Exit::NotATarget,
            Self::NoSuchProcess { .. }
            | Self::NoProc { .. }
            | Self::Ended { .. }
            | Self::EndedWhileWatched { .. }
            | Self::Zombie { .. }
            | Self::SwitchedOff { .. }
            | Self::FileSizeLimit { .. }
            | Self::Registry { .. }
            | Self::Io { .. } => Exit::Failure,
        }
    }
}
