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
         (CONFIG_UPROBE_EVENTS, and /sys mounted); read the process's registry instead: \
         `--source registry`"
    )]
    Unsupported {
        /// As `uname -r` has it.
        release: String,
    },
    /// The tracer may not do what it has to.
    #[error("no permission to {action}: run as root, or with {capabilities}")]
    Permission {
        /// What it may not do.
        action: &'static str,
        /// What would allow it.
        capabilities: &'static str,
    },
    /// There are no kernel programs for this machine yet.
    #[error("there is no eBPF object for {}", std::env::consts::ARCH)]
    Architecture,
    /// The process is gone.
    #[error("process {tgid} has exited")]
    NoProcess {
        /// Its pid.
        tgid: u32,
    },
    /// A program gets pids of the tracer's own namespace only.
    #[error(
        "process {tgid} is in another pid namespace than roam-trace, which is itself in a \
         container: run roam-trace in the same container or on the host"
    )]
    Namespace {
        /// Its pid.
        tgid: u32,
    },
    /// No target has a probe.
    #[error("there is no probe to attach to")]
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
    #[error("{} has no probe site at offset {file_offset:#x} any more", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where the site was.
        file_offset: u64,
    },
    /// The kernel's data structures are not described.
    #[error("cannot find out how the kernel lays out its processes")]
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
    #[error("cannot load the kernel side")]
    Object(#[source] Box<EbpfError>),
    /// The programs that watch for exec and exit could not be attached.
    #[error("cannot watch for the end of processes ({program})")]
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
    #[error("cannot read the log of the kernel side")]
    Log(#[source] aya_log::Error),
}

impl AttachError {
    pub(super) fn may_not_load() -> Self {
        Self::Permission {
            action: "load kernel programs",
            capabilities: "CAP_BPF and CAP_PERFMON",
        }
    }

    pub(super) fn may_not_open_events() -> Self {
        Self::Permission {
            action: "attach by perf events, this kernel having no uprobe_multi (Linux 6.6)",
            capabilities: "CAP_SYS_ADMIN",
        }
    }

    /// A file of a target could not be read.
    pub(super) fn binary(tgid: u32, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission {
                action: "look at the files of the process",
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
    #[error("the eBPF object is damaged: {0}")]
    Object(String),
    /// The kernel refuses the program.
    #[error("the kernel refuses the program {program}: {verifier}")]
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
