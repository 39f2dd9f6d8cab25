//! Why probes cannot be attached, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use aya::EbpfError;
use aya::programs::ProgramError;
use thiserror::Error;

use super::kernel_layout::LayoutError;
use crate::kernel::MapAccessError;
use crate::privilege;

/// Why probes cannot be attached.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The kernel offers no way to attach.
    #[error(
        "kernel {release} has neither uprobe_multi (Linux 6.6) nor uprobe perf events \
        (CONFIG_UPROBE_EVENTS, and /sys mounted); read the registry without -d"
    )]
    Unsupported {
        /// As `uname -r` has it.
        release: String,
    },
    /// The kernel cannot attach so that it lasts.
    #[error(
        "arming needs uprobe_multi (Linux 6.6), which this kernel does not have; attach the probes of running \
        processes with -d 5s, which uses perf events here"
    )]
    CannotArm,
    /// A program that notices the end of processes could not be attached.
    #[error("cannot attach the eBPF programs that notice the end of processes")]
    Tracepoint(#[source] io::Error),
    /// A capability is missing.
    #[error(
        "no permission to {action}, which needs {capabilities}; {}",
        privilege::advice()
    )]
    Permission {
        /// What is denied.
        action: &'static str,
        /// The capabilities that allow it.
        capabilities: &'static str,
    },
    /// There is no eBPF object for this architecture.
    #[error(
        "roam-trace has no eBPF object for {}; read the registry without -d",
        std::env::consts::ARCH
    )]
    Architecture,
    /// The process ended.
    #[error("process {tgid} ended")]
    NoProcess {
        /// Its pid.
        tgid: u32,
    },
    /// The process is in another pid namespace: eBPF programs get pids of the tracer's namespace only.
    #[error(
        "process {tgid} and roam-trace are in different pid namespaces, and roam-trace is in a \
        container; run roam-trace in the same container or on the host"
    )]
    Namespace {
        /// Its pid.
        tgid: u32,
    },
    /// No process has a probe.
    #[error("no process has a probe to attach to")]
    NoSites,
    /// A file of a target could not be opened or read.
    #[error("cannot read {}", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// The error of the system call.
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
    /// The layout of the kernel's data structures is unknown.
    #[error("cannot read the layout of the kernel's process structures")]
    Layout(#[from] LayoutError),
    /// The pid namespace of a process could not be read.
    #[error("cannot read the pid namespace of process {tgid}")]
    ReadNamespace {
        /// The process.
        tgid: u32,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// The maps could not be created, or the eBPF object not loaded.
    #[error("cannot load the eBPF object")]
    Object(#[source] Box<EbpfError>),
    /// A program that reports the end of processes could not be attached.
    #[error("cannot attach the eBPF program {program}, which reports the end of processes")]
    Process {
        /// The program.
        program: &'static str,
        /// The error of aya or the kernel.
        #[source]
        source: Box<ProgramError>,
    },
    /// The program of a probe could not be loaded.
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
    /// The log of the programs could not be opened.
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
    pub(super) fn binary(tgid: Option<u32>, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission {
                action: "read the files of the process",
                capabilities: "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
            },
            kind => match tgid {
                Some(tgid)
                    if kind == io::ErrorKind::NotFound
                        && !Path::new(&format!("/proc/{tgid}")).exists() =>
                {
                    Self::NoProcess { tgid }
                }
                _ => Self::Binary {
                    path: path.to_owned(),
                    source,
                },
            },
        }
    }
}

/// The program of a probe could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object is not what this tracer was built with.
    #[error("the eBPF object is invalid: {0}")]
    Object(String),
    /// The verifier rejected the program.
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
    /// Reports a program that the verifier rejected, with the last lines of its log.
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
