//! Perf events of the uprobe kind, for kernels without uprobe_multi: one event
//! for each site, and CAP_SYS_ADMIN to open it.
//!
//! An event is opened for all processes, and the program filters. One opened for
//! a process belongs to a single thread of it: when that thread exits, the kernel
//! takes the breakpoints out of the whole process without telling anybody. The
//! price is that every process of the same binary traps.
//!
//! Owns these events and the programs loaded for them. Maps and programs are aya's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use aya::Ebpf;
use aya::programs::uprobe::{UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};

use super::error::{AttachError, LoadError};
use crate::signals::SignalsBlocked;

/// Where the kernel says how to ask for such an event.
const PMU: &str = "/sys/bus/event_source/devices/uprobe/type";

/// Whether the kernel has such events.
pub(super) fn is_known() -> bool {
    Path::new(PMU).exists()
}

/// Loads the programs of that name.
pub(super) fn load(bpf: &mut Ebpf, names: &[&'static str]) -> Result<(), AttachError> {
    for &name in names {
        program(bpf, name)
            .and_then(UProbe::load)
            .map_err(|error| match error {
                ProgramError::LoadError {
                    io_error,
                    verifier_log,
                } => match io_error.kind() {
                    io::ErrorKind::PermissionDenied => AttachError::may_not_load(),
                    _ => LoadError::refused(name, &verifier_log.to_string(), io_error).into(),
                },
                error => LoadError::Object(error.to_string()).into(),
            })?;
    }
    Ok(())
}

/// Makes sure that events may be opened, by an attempt that must fail: the kernel checks the
/// privilege first, and nobody can attach to a directory.
pub(super) fn check_permission(bpf: &mut Ebpf, name: &str) -> Result<(), AttachError> {
    match open(bpf, name, Path::new("/"), 0) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(AttachError::may_not_open_events())
        }
        _ => Ok(()),
    }
}

/// What is attached. Linux 6.1 takes some 70 ms to close one, and as it holds a lock meanwhile, it
/// would take no less to close them side by side.
#[derive(Default)]
pub(super) struct PerfEventLinks(Vec<UProbeLink>);

impl PerfEventLinks {
    /// Attaches a probe's program to all its sites in a binary, in every process.
    pub(super) fn attach(
        &mut self,
        bpf: &mut Ebpf,
        probe: &str,
        binary: &File,
        offsets: &[u64],
    ) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", binary.as_raw_fd());
        for &offset in offsets {
            self.0.push(open(bpf, probe, Path::new(&path), offset)?);
        }
        Ok(())
    }
}

impl Drop for PerfEventLinks {
    fn drop(&mut self) {
        let _signals = SignalsBlocked::begin();
        self.0.clear();
    }
}

fn open(bpf: &mut Ebpf, name: &str, binary: &Path, offset: u64) -> Result<UProbeLink, io::Error> {
    let mut attach = || -> Result<UProbeLink, ProgramError> {
        let program = program(bpf, name)?;
        let link = program.attach(offset, binary, UProbeScope::AllProcesses)?;
        program.take_link(link)
    };
    attach().map_err(|error| match error {
        ProgramError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    })
}

fn program<'a>(bpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, ProgramError> {
    bpf.program_mut(name)
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
        .try_into()
}
