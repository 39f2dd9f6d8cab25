//! Programs of the kind uprobe_multi (Linux 6.6), which aya 0.14 cannot load or
//! attach: one link puts one program on all its sites in a binary at once, in
//! milliseconds and without CAP_SYS_ADMIN.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::Builder;

use aya::Ebpf;
use aya_obj::generated::{BPF_ALU64, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, bpf_insn};

use super::error::AttachError;
use super::kept::KeptLinks;
use super::method::PidFilter;
use super::relocated::Relocated;
use super::site_memory::SiteMemory;
use crate::bpf::{self, Kind, Program};
use crate::signals::SignalsBlocked;

/// Finds out what the kernel can do, by two attempts that must fail: the kernel checks the pid
/// before the path only where it filters by process, so the error differs. `None`: it has no such programs.
pub(super) fn pid_filter() -> Result<Option<PidFilter>, AttachError> {
    let instruction = |code| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    };
    let return_0 = [
        (BPF_ALU64 | BPF_MOV | BPF_K) as u8,
        (BPF_JMP | BPF_EXIT) as u8,
    ]
    .map(instruction);
    let program = Program {
        name: "return_0",
        kind: Kind::UprobeMulti,
        instructions: &return_0,
        license: c"GPL",
        functions: None,
    };
    let program = match program.load(&mut []) {
        Ok(program) => program,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(AttachError::may_not_load());
        }
        Err(_) => return Ok(None),
    };
    let attempt = |pid: u32| {
        bpf::attach_to_sites(program.as_fd(), c"/", &[0], pid)
            .err()
            .and_then(|error| error.raw_os_error())
    };
    match attempt(0) {
        Some(libc::EBADF) => {}
        Some(libc::EPERM | libc::EACCES) => return Err(AttachError::may_not_load()),
        _ => return Ok(None),
    }
    // Before Linux 6.10 the kernel compares threads instead of processes.
    Ok(Some(match attempt(u32::MAX) {
        Some(libc::EINVAL) => PidFilter::Kernel,
        _ => PidFilter::Program,
    }))
}

/// The programs of all probes, loaded.
pub(super) struct Programs(Vec<(&'static str, OwnedFd)>);

impl Programs {
    /// Loads the programs of that name from the object whose maps aya has made.
    pub(super) fn load(
        object: &[u8],
        bpf: &Ebpf,
        names: &[&'static str],
    ) -> Result<Self, AttachError> {
        let object = Relocated::new(object, bpf)?;
        names
            .iter()
            .map(|name| Ok((*name, object.load(name, Kind::UprobeMulti)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn get(&self, name: &str) -> io::Result<&OwnedFd> {
        self.0
            .iter()
            .find(|(program, _)| *program == name)
            .map(|(_, fd)| fd)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What is attached.
pub(super) struct UprobeMultiLinks {
    /// What the kernel detaches by itself.
    kept: Option<KeptLinks>,
    /// What could not be kept so.
    links: Vec<OwnedFd>,
}

impl UprobeMultiLinks {
    /// Nothing yet. `memory` is that of the targets.
    pub(super) fn new(memory: SiteMemory) -> Self {
        let kept = KeptLinks::new(memory);
        if let Err(error) = &kept {
            log::info!("cannot make a bpffs for the links: {error}");
        }
        Self {
            kept: kept.ok(),
            links: Vec::new(),
        }
    }

    /// Attaches a probe's program to all its sites in a binary; without a pid, in every process.
    pub(super) fn attach(
        &mut self,
        programs: &Programs,
        probe: &str,
        binary: &File,
        offsets: &[u64],
        pid: Option<u32>,
    ) -> io::Result<()> {
        let link = attach(programs.get(probe)?, binary, offsets, pid)?;
        let left = match &mut self.kept {
            Some(kept) => kept.keep(link),
            None => Some(link),
        };
        self.links.extend(left);
        Ok(())
    }
}

/// Attaches a program to sites of a binary; without a pid, in every process.
pub(super) fn attach(
    program: &OwnedFd,
    binary: &File,
    offsets: &[u64],
    pid: Option<u32>,
) -> io::Result<OwnedFd> {
    let path = CString::new(format!("/proc/self/fd/{}", binary.as_raw_fd()))?;
    bpf::attach_to_sites(program.as_fd(), &path, offsets, pid.unwrap_or(0))
}

impl Drop for UprobeMultiLinks {
    /// Detaches everything at once. Closing a link waits until no program runs any more, 45 ms on an idle
    /// machine, and all of them can wait for the same. The order does not matter here: nobody reads the
    /// maps after this.
    fn drop(&mut self) {
        let _signals = SignalsBlocked::begin();
        self.kept = None;
        std::thread::scope(|scope| {
            for link in self.links.drain(..) {
                // Where there may be no thread, the link is closed here, with the closure.
                let _ = Builder::new().spawn_scoped(scope, move || drop(link));
            }
        });
    }
}
