//! Why nothing was attached, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use aya::EbpfError;
use aya::programs::ProgramError;
use thiserror::Error;

use super::kernel_layout::LayoutError;
use crate::kernel::MapAccessError;

/// Why nothing was attached.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The kernel can attach to no probe.
    #[error(
        "kernel {release} has neither uprobe_multi (Linux 6.6) nor uprobe perf events \
        (CONFIG_UPROBE_EVENTS, and /sys mounted); read the registry without -d"
    )]
    Unsupported {
        /// As `uname -r` has it.
        release: String,
    },
    /// The tracer may not do what it has to.
    #[error("no permission to {action}; run roam-trace as root, or with {capabilities}")]
    Permission {
        /// What it may not do.
        action: &'static str,
        /// What would allow it.
        capabilities: &'static str,
    },
    /// There are no kernel programs for this machine yet.
    #[error("roam-trace has no eBPF object for {}; read the registry without -d", std::env::consts::ARCH)]
    Architecture,
    /// The process is gone.
    #[error("process {tgid} ended")]
    NoProcess {
        /// Its pid.
        tgid: u32,
    },
    /// A program gets pids of the tracer's own namespace only.
    #[error(
        "process {tgid} and roam-trace are in different pid namespaces, and roam-trace is in a \
        container; run roam-trace in the same container or on the host"
    )]
    Namespace {
        /// Its pid.
        tgid: u32,
    },
    /// No target has a probe.
    #[error("no process has a probe to attach to")]
    NoSites,
    /// A file of a target could not be opened or read.
    #[error("cannot read {}", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file changed since its sites were read.
    #[error("{} changed and has no probe site at offset {file_offset:#x} any more; run roam-trace again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where the site was.
        file_offset: u64,
    },
    /// The kernel's data structures are not described.
    #[error("cannot read the layout of the kernel's process structures")]
    Layout(#[from] LayoutError),
    /// The pid namespaces could not be compared.
    #[error("cannot read the pid namespace of process {tgid}")]
    ReadNamespace {
        /// The process.
        tgid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The maps could not be made.
    #[error("cannot load the eBPF object")]
    Object(#[source] Box<EbpfError>),
    /// The programs that watch for exec and exit could not be attached.
    #[error("cannot attach the eBPF program {program}, which reports the end of processes")]
    Process {
        /// The program.
        program: &'static str,
        /// What aya or the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A probe's program could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A program could not be attached to a binary.
    #[error("cannot attach to the probe {probe} of {}", path.display())]
    Link {
        /// The probe.
        probe: &'static str,
        /// The binary.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// The maps could not be filled.
    #[error(transparent)]
    Maps(#[from] MapAccessError),
    /// The programs' log could not be opened.
    #[error("cannot read the log of the eBPF programs")]
    Log(#[source] aya_log::Error),
}

impl AttachError {
    pub(super) fn may_not_load() -> Self {
        Self::Permission {
            action: "load eBPF programs",
            capabilities: "CAP_BPF and CAP_PERFMON",
        }
    }

    pub(super) fn may_not_open_events() -> Self {
        Self::Permission {
            action: "attach with perf events, which this kernel needs because it has no uprobe_multi (Linux 6.6)",
            capabilities: "CAP_SYS_ADMIN",
        }
    }

    /// A file of a target could not be read.
    pub(super) fn binary(tgid: u32, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission {
                action: "read the files of the process",
                capabilities: "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
            },
            io::ErrorKind::NotFound if !Path::new(&format!("/proc/{tgid}")).exists() => {
                Self::NoProcess { tgid }
            }
            _ => Self::Binary {
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// A probe's program could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object is not what this tracer was built with.
    #[error("the eBPF object is invalid: {0}")]
    Object(String),
    /// The kernel refuses the program.
    #[error("the kernel rejected the eBPF program {program}: {verifier}")]
    Refused {
        /// The program.
        program: String,
        /// The end of the verifier's log.
        verifier: String,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
}

impl LoadError {
    /// A program that the verifier refused, with the last lines of its log, which say what is wrong.
    pub(super) fn refused(program: &str, log: &str, source: io::Error) -> Self {
        const LINES: usize = 8;
        let lines: Vec<&str> = log.lines().collect();
        Self::Refused {
            program: program.to_owned(),
            verifier: lines[lines.len().saturating_sub(LINES)..].join("\n"),
            source,
        }
    }
}

/// Whether any cause of an error is a missing privilege.
pub(super) fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io_error = error.downcast_ref::<io::Error>();
        if io_error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}
