//! Why a process cannot be dumped, in one line each, and the exit status of each reason.

use std::io;
use std::process::ExitCode;

use roam_dump::read::ReadError;
use roam_dump::render::Counted;
use thiserror::Error;

use crate::privilege::Missing;

/// The exit status of the command. Of several, the highest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// A dump was printed, or the process has no connection yet.
    Success = 0,
    /// A failure without a status of its own.
    Failure = 1,
    // 2 is a usage error; clap exits with it.
    /// No permission.
    NoPermission = 3,
    /// Not a roam program.
    NotATarget = 4,
    /// Something has been stuck for as long as `--fail-if-stuck` says.
    Stuck = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a process cannot be dumped.
#[derive(Debug, Error)]
pub enum TargetError {
    /// No process has that pid.
    #[error(
        "cannot read process {pid}: it does not exist; `roam-trace list` shows the processes that can be read"
    )]
    NoSuchProcess {
        /// The pid asked for.
        pid: u32,
    },
    /// `/proc` is not mounted.
    #[error(
        "cannot read process {pid}: /proc is not mounted here; mount it, or run roam-trace where it is mounted"
    )]
    NoProc {
        /// The pid asked for.
        pid: u32,
    },
    /// The process ended while it was read.
    #[error("cannot read process {pid}: it ended while it was read")]
    Ended {
        /// The process.
        pid: u32,
    },
    /// The process ended while its probes were attached.
    #[error(
        "cannot dump process {pid}: it ended while its probes were attached, after {} started and {} ended",
        Counted(*started, "requests"),
        Counted(*ended, "requests")
    )]
    EndedWhileWatched {
        /// The process.
        pid: u32,
        /// Requests that started while the probes were attached.
        started: u64,
        /// Requests that ended while the probes were attached.
        ended: u64,
    },
    /// The process ended, and its parent has not reaped it.
    #[error("cannot read process {pid} ({name}): it is a zombie (not yet reaped by its parent)")]
    Zombie {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The process is a kernel thread.
    #[error("cannot read process {pid} ({name}): it is a kernel thread, not a roam program")]
    KernelThread {
        /// The thread.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The system denies access to the process.
    #[error("no permission to {action} process {pid} ({name}): {missing}")]
    NoPermission {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// What was denied, for example `read`.
        action: &'static str,
        /// The capabilities that are missing.
        missing: Missing,
    },
    /// The process has neither a registry nor probes.
    #[error(
        "process {pid} ({name}) is not a roam program: it maps no registry (/memfd:roam-diagnostic), and its executable and libraries have no probes of provider roam; if it uses roam, rebuild it with the drop-in roam-session"
    )]
    NotATarget {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// Probes were asked for, and the files of the process have none.
    #[error(
        "cannot attach to process {pid} ({name}): its executable and libraries have no probes of provider roam; keep .note.stapsdt when you strip them, or read the registry without -d"
    )]
    NoProbes {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The files of the process have probe notes that do not match their code.
    #[error("cannot attach to process {pid} ({name}): {refused}; read the registry without -d")]
    RefusedProbes {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// The file, and what is wrong with its notes.
        refused: String,
    },
    /// Only what probes reported was asked for, and they are not attached.
    #[error(
        "cannot read process {pid} ({name}) by its probes: its executable is not armed, or that cannot be seen without root; attach them with -d 5s, or for later processes with roam-trace arm"
    )]
    NotArmed {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The process is built with the published roam-session.
    #[error(
        "process {pid} ({name}) has neither registry nor probes: it is built with the published roam-session; select the drop-in roam-session in [patch.crates-io] and rebuild it"
    )]
    Published {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The process is a forked child, which has only the registry of its parent.
    #[error(
        "process {pid} ({name}) has no registry of its own: it was forked from pid {owner}, and a forked child reports nothing; run roam-trace -p {owner}"
    )]
    Inherited {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// The pid of the process that owns the registry, in the pid namespace of that process.
        owner: u32,
    },
    /// The process was started with `ROAM_DIAGNOSTIC=off`.
    #[error(
        "process {pid} ({name}) reports nothing: it was started with ROAM_DIAGNOSTIC=off; restart it without that variable"
    )]
    SwitchedOff {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The limit on the size of files is smaller than a registry.
    #[error(
        "cannot read the registry of process {pid} ({name}): RLIMIT_FSIZE ({bytes} bytes) is too small for a shared registry, so the registry is private; attach the probes with -d 5s, or restart the process with a higher limit"
    )]
    FileSizeLimit {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// The limit, in bytes.
        bytes: u64,
    },
    /// The registry of the process cannot be read.
    #[error("cannot read the registry of process {pid} ({name}): {error}")]
    Registry {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// What is wrong with it.
        error: ReadError,
    },
    /// The process keeps whoever looks at it waiting.
    #[error(
        "cannot read process {pid} ({name}): the kernel does not answer in time, because the process holds a lock or waits for a file system"
    )]
    Silent {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The process has more mappings than are read, and no registry among those.
    #[error(
        "cannot read process {pid} ({name}): it has more memory mappings than roam-trace reads, and no registry among those"
    )]
    TooManyMappings {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// A system call failed.
    #[error("cannot {action} process {pid} ({name}): {error}")]
    Io {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
        /// What failed, for example `open`.
        action: &'static str,
        /// The error of the system call.
        error: io::Error,
    },
}

impl TargetError {
    /// Returns whether the process has ended, or never was a program: among all processes there always are some.
    pub fn is_no_process(&self) -> bool {
        matches!(
            self,
            Self::NoSuchProcess { .. }
                | Self::Ended { .. }
                | Self::Zombie { .. }
                | Self::KernelThread { .. }
        )
    }

    /// Returns the exit status for this error.
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
            | Self::NotArmed { .. }
            | Self::Zombie { .. }
            | Self::SwitchedOff { .. }
            | Self::FileSizeLimit { .. }
            | Self::Registry { .. }
            | Self::Silent { .. }
            | Self::TooManyMappings { .. }
            | Self::Io { .. } => Exit::Failure,
        }
    }
}
