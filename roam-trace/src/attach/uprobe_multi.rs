//! Programs of the kind uprobe_multi (Linux 6.6), which aya 0.14 cannot load or
//! attach: one link puts one program on all its sites in a binary at once, in
//! milliseconds and without CAP_SYS_ADMIN.
//!
//! Owns the three bpf(2) calls that takes. The maps are aya's. To be deleted when
//! aya can be raised to 0.15.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread::Builder;

use aya::Ebpf;
use aya::maps::Map;
use aya_obj::generated::{
    BPF_ALU64, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn,
    bpf_prog_type,
};
use aya_obj::{Function, Object};

use super::error::{AttachError, LoadError};
use super::method::PidFilter;
use crate::signals::SignalsBlocked;

const ATTACH_TYPE: u32 = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;

/// Bytes for what the verifier says of a program that it refuses.
const VERIFIER_LOG_BYTES: usize = 1 << 20;

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
    let program = match load_instructions("return_0", &return_0, c"GPL", &mut []) {
        Ok(program) => program,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(AttachError::may_not_load());
        }
        Err(_) => return Ok(None),
    };
    let attempt = |pid: u32| {
        create_link(&program, c"/", &[0], pid)
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
        let object = relocate(object, bpf)?;
        names
            .iter()
            .map(|name| Ok((*name, load_program(&object, name)?)))
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
#[derive(Default)]
pub(super) struct UprobeMultiLinks(Vec<OwnedFd>);

impl UprobeMultiLinks {
    /// Attaches a probe's program to all its sites in a binary; without a pid, in every process.
    pub(super) fn attach(
        &mut self,
        programs: &Programs,
        probe: &str,
        binary: &File,
        offsets: &[u64],
        pid: Option<u32>,
    ) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", binary.as_raw_fd());
        let path = CString::new(path)?;
        let link = create_link(programs.get(probe)?, &path, offsets, pid.unwrap_or(0))?;
        self.0.push(link);
        Ok(())
    }
}

impl Drop for UprobeMultiLinks {
    /// Detaches everything at once. Closing a link waits until no program runs any more, 45 ms on an idle
    /// machine, and all of them can wait for the same. The order does not matter here: nobody reads the
    /// maps after this.
    fn drop(&mut self) {
        let _signals = SignalsBlocked::begin();
        std::thread::scope(|scope| {
            for link in self.0.drain(..) {
                // Where there may be no thread, the link is closed here, with the closure.
                let _ = Builder::new().spawn_scoped(scope, move || drop(link));
            }
        });
    }
}

/// Fills the maps' descriptors and the addresses of called functions in.
fn relocate(object: &[u8], bpf: &Ebpf) -> Result<Object, LoadError> {
    let failed = |problem: &dyn ToString| LoadError::Object(problem.to_string());
    let mut object = Object::parse(object).map_err(|error| failed(&error))?;
    let sections: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let maps = std::mem::take(&mut object.maps)
        .into_iter()
        .map(|(name, map)| {
            let fd = bpf
                .map(&name)
                .and_then(map_fd)
                .ok_or_else(|| LoadError::Object(format!("no map {name}")))?;
            Ok((name, fd, map))
        })
        .collect::<Result<Vec<_>, LoadError>>()?;
    object
        .relocate_maps(
            maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)),
            &sections,
        )
        .map_err(|error| failed(&error))?;
    object
        .relocate_calls(&sections)
        .map_err(|error| failed(&error))?;
    Ok(object)
}

/// The descriptor of a map of one of the kinds that the object has.
fn map_fd(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(map) | Map::HashMap(map) | Map::PerCpuArray(map) | Map::RingBuf(map) => {
            Some(map.fd().as_fd().as_raw_fd())
        }
        _ => None,
    }
}

fn load_program(object: &Object, name: &str) -> Result<OwnedFd, LoadError> {
    let missing = || LoadError::Object(format!("no program {name}"));
    let program = object.programs.get(name).ok_or_else(missing)?;
    let function: &Function = object
        .functions
        .get(&program.function_key())
        .ok_or_else(missing)?;
    let load =
        |log: &mut [u8]| load_instructions(name, &function.instructions, &program.license, log);
    // A log costs the verifier time, so it is asked for only once there is something to read.
    load(&mut []).or_else(|source| {
        let mut log = vec![0; VERIFIER_LOG_BYTES];
        load(&mut log).map_err(|_| {
            let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
            LoadError::refused(name, &String::from_utf8_lossy(text), source)
        })
    })
}

fn load_instructions(
    name: &str,
    instructions: &[bpf_insn],
    license: &CStr,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    // SAFETY: All zeroes is a valid `bpf_attr`.
    let mut attr = unsafe { std::mem::zeroed::<bpf_attr>() };
    // SAFETY: The member that `BPF_PROG_LOAD` uses; all of it is initialised.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    load.expected_attach_type = ATTACH_TYPE;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = instructions.len() as u32;
    load.license = license.as_ptr() as u64;
    // All names of ours are ASCII; the kernel wants a zero at the end.
    let room = load.prog_name.len() - 1;
    for (to, from) in load.prog_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = log.len() as u32;
    }
    // SAFETY: Instructions, licence and log outlive the call.
    unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
}

fn create_link(program: &OwnedFd, path: &CStr, offsets: &[u64], pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: All zeroes is a valid `bpf_attr`.
    let mut attr = unsafe { std::mem::zeroed::<bpf_attr>() };
    // SAFETY: The member that `BPF_LINK_CREATE` uses; all of it is initialised.
    let create = unsafe { &mut attr.link_create };
    create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    create.attach_type = ATTACH_TYPE;
    // SAFETY: As above, for this type of attachment.
    let multi = unsafe { &mut create.__bindgen_anon_3.uprobe_multi };
    multi.path = path.as_ptr() as u64;
    multi.offsets = offsets.as_ptr() as u64;
    multi.cnt = offsets.len() as u32;
    multi.pid = pid;
    // SAFETY: Path and offsets outlive the call.
    unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// bpf(2), for commands that return a descriptor.
///
/// # Safety
///
/// Every pointer in `attr` that the command uses is valid for what the command does with it.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: The caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The commands that this is called with return a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
}
