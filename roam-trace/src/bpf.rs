//! The bpf(2) calls that aya 0.14 does not make: programs of the kind uprobe_multi (Linux 6.6), programs that pass
//! the kernel the address of a function, and pins that are named by a descriptor.
//!
//! Owns every system call of that kind but the reading of maps. To be deleted when aya can be raised to 0.15.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{
    BPF_F_PATH_FD, BPF_F_RDONLY, bpf_attach_type, bpf_attr, bpf_cmd, bpf_func_info, bpf_insn,
    bpf_prog_info, bpf_prog_type,
};

const UPROBE_MULTI: u32 = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;

/// What a program is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    UprobeMulti,
    RawTracepoint,
}

/// A program to load.
pub(crate) struct Program<'a> {
    /// ASCII; the kernel keeps 15 characters.
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) instructions: &'a [bpf_insn],
    pub(crate) license: &'a CStr,
    /// The types of its functions, for a program that passes the address of one.
    pub(crate) functions: Option<(BorrowedFd<'a>, &'a [bpf_func_info])>,
}

impl Program<'_> {
    /// Loads it. Without room for a log, the verifier writes none.
    pub(crate) fn load(&self, log: &mut [u8]) -> io::Result<OwnedFd> {
        let mut attr = zeroed();
        // SAFETY: The member that `BPF_PROG_LOAD` uses; all of it is initialised.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        match self.kind {
            Kind::UprobeMulti => {
                load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
                load.expected_attach_type = UPROBE_MULTI;
            }
            Kind::RawTracepoint => {
                load.prog_type = bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT as u32;
            }
        }
        load.insns = self.instructions.as_ptr() as u64;
        load.insn_cnt = self.instructions.len() as u32;
        load.license = self.license.as_ptr() as u64;
        // The kernel wants a zero at the end.
        let room = load.prog_name.len() - 1;
        for (to, from) in load.prog_name[..room].iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        if let Some((types, functions)) = self.functions {
            load.prog_btf_fd = types.as_raw_fd() as u32;
            load.func_info_rec_size = size_of::<bpf_func_info>() as u32;
            load.func_info = functions.as_ptr() as u64;
            load.func_info_cnt = functions.len() as u32;
        }
        if !log.is_empty() {
            load.log_level = 1;
            load.log_buf = log.as_mut_ptr() as u64;
            load.log_size = log.len() as u32;
        }
        // SAFETY: Instructions, licence, functions and log outlive the call.
        unsafe { descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
    }
}

/// Loads types.
pub(crate) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: The member that `BPF_BTF_LOAD` uses; all of it is initialised.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = types.as_ptr() as u64;
    load.btf_size = types.len() as u32;
    // SAFETY: The types outlive the call.
    unsafe { descriptor(bpf_cmd::BPF_BTF_LOAD, &mut attr) }
}

/// Attaches a program to sites of a file, in every process where `pid` is 0.
pub(crate) fn attach_to_sites(
    program: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    pid: u32,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: The member that `BPF_LINK_CREATE` uses; all of it is initialised.
    let create = unsafe { &mut attr.link_create };
    create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    create.attach_type = UPROBE_MULTI;
    // SAFETY: As above, for this type of attachment.
    let multi = unsafe { &mut create.__bindgen_anon_3.uprobe_multi };
    multi.path = path.as_ptr() as u64;
    multi.offsets = offsets.as_ptr() as u64;
    multi.cnt = offsets.len() as u32;
    multi.pid = pid;
    // SAFETY: Path and offsets outlive the call.
    unsafe { descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// Attaches a program to a raw tracepoint.
pub(crate) fn attach_to_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.raw_tracepoint.name = name.as_ptr() as u64;
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    // SAFETY: The name outlives the call.
    unsafe { descriptor(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr) }
}

/// Pins a map, a program or a link, so that it outlives this process.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    // SAFETY: The member that `BPF_OBJ_PIN` uses; all of it is initialised.
    let pin = unsafe { &mut attr.__bindgen_anon_4 };
    pin.pathname = path.as_ptr() as u64;
    pin.bpf_fd = object.as_raw_fd() as u32;
    // SAFETY: The path outlives the call.
    unsafe { call(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(|_| ())
}

/// Pins a link below a directory that is open, by a name without directories (Linux 6.5).
pub(crate) fn pin_in(
    directory: BorrowedFd<'_>,
    link: BorrowedFd<'_>,
    name: &str,
) -> io::Result<()> {
    let name = CString::new(name)?;
    let mut attr = zeroed();
    // SAFETY: The member that `BPF_OBJ_PIN` uses; all of it is initialised.
    let pin = unsafe { &mut attr.__bindgen_anon_4 };
    pin.pathname = name.as_ptr() as u64;
    pin.bpf_fd = link.as_raw_fd() as u32;
    pin.path_fd = directory.as_raw_fd();
    pin.file_flags = BPF_F_PATH_FD;
    // SAFETY: The name outlives the call.
    unsafe { call(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(|_| ())
}

/// What may be done with a map that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadAndWrite,
}

/// Opens what is pinned.
pub(crate) fn open(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    // SAFETY: The member that `BPF_OBJ_GET` uses; all of it is initialised.
    let open = unsafe { &mut attr.__bindgen_anon_4 };
    open.pathname = path.as_ptr() as u64;
    open.file_flags = match access {
        Access::Read => BPF_F_RDONLY,
        Access::ReadAndWrite => 0,
    };
    // SAFETY: The path outlives the call.
    unsafe { descriptor(bpf_cmd::BPF_OBJ_GET, &mut attr) }
}

/// How long a program ran, and how often, while the kernel measured that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProgramInfo {
    pub(crate) run_time_ns: u64,
    pub(crate) runs: u64,
}

/// Reads how long a program ran.
pub(crate) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    // SAFETY: All zeroes is a valid `bpf_prog_info`.
    let mut info = unsafe { std::mem::zeroed::<bpf_prog_info>() };
    let mut attr = zeroed();
    attr.info.bpf_fd = program.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = &raw mut info as u64;
    // SAFETY: The info outlives the call, and has the size that the kernel is told.
    unsafe { call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(ProgramInfo {
        run_time_ns: info.run_time_ns,
        runs: info.run_cnt,
    })
}

fn zeroed() -> bpf_attr {
    // SAFETY: All zeroes is a valid `bpf_attr`.
    unsafe { std::mem::zeroed() }
}

/// bpf(2), for commands that return a descriptor.
///
/// # Safety
///
/// Every pointer in `attr` that the command uses is valid for what the command does with it.
unsafe fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: The caller's promise.
    let descriptor = unsafe { call(command, attr) }?;
    // SAFETY: The commands that this is called with return a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// bpf(2).
///
/// # Safety
///
/// As [`descriptor`].
unsafe fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: The caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    match result {
        0.. => Ok(result as RawFd),
        _ => Err(io::Error::last_os_error()),
    }
}
