//! What is attached, as the kernel and a process's memory show it: witnesses that share no code with the
//! tracer, but for the offsets of the probes.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info};
use roam_trace::elf;

/// Bytes of a probe site that are compared with the file's.
const SITE_BYTES: usize = 11;

/// The probe sites of a process: how many there are, and how many are not as in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sites {
    pub(crate) all: usize,
    pub(crate) changed: usize,
}

/// Compares the sites in a process's memory with its files.
pub(crate) fn sites(pid: u32) -> io::Result<Sites> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut sites = Sites { all: 0, changed: 0 };
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [range, "r-xp", offset, _, inode, ..] = fields[..] else {
            continue;
        };
        if inode == "0" {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let hex = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end, offset) = (hex(start), hex(end), hex(offset));
        // The kernel writes the addresses there without leading zeros, as in `maps`.
        let file = File::open(format!("/proc/{pid}/map_files/{range}"))?;
        let found = elf::file_probe_sites(file.try_clone()?).unwrap_or_default();
        for site in found {
            let Some(address) = site
                .file_offset
                .checked_sub(offset)
                .map(|into| start + into)
                .filter(|&address| address < end)
            else {
                continue;
            };
            let (mut expected, mut actual) = ([0; SITE_BYTES], [0; SITE_BYTES]);
            file.read_exact_at(&mut expected, site.file_offset)?;
            memory.read_exact_at(&mut actual, address)?;
            sites.all += 1;
            sites.changed += usize::from(actual != expected);
        }
    }
    Ok(sites)
}

/// Links of the kind uprobe_multi that are attached to a program or library of the load. A kernel before
/// Linux 6.8 does not report the path; then there is nothing to see.
pub(crate) fn links() -> usize {
    let mut found = 0;
    let mut id = 0;
    while let Some(next) = next_link(id) {
        id = next;
        found += usize::from(path_of_link(id).is_some_and(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.starts_with("roam-load") || name.starts_with("libroam_load")
        }));
    }
    found
}

fn next_link(id: u32) -> Option<u32> {
    // SAFETY: all zeroes is a valid `bpf_attr`.
    let mut attr = unsafe { std::mem::zeroed::<bpf_attr>() };
    attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
    bpf(bpf_cmd::BPF_LINK_GET_NEXT_ID, &mut attr).ok()?;
    // SAFETY: the command writes this member.
    Some(unsafe { attr.__bindgen_anon_6.next_id })
}

/// `None` for links of other kinds, and for those that are gone by now.
fn path_of_link(id: u32) -> Option<String> {
    const UPROBE_MULTI: u32 = aya_obj::generated::bpf_link_type::BPF_LINK_TYPE_UPROBE_MULTI as u32;
    // SAFETY: all zeroes is a valid `bpf_attr`.
    let mut attr = unsafe { std::mem::zeroed::<bpf_attr>() };
    attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    let link = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr).ok()?;
    // SAFETY: the command returns a new descriptor.
    let link = unsafe { OwnedFd::from_raw_fd(link) };

    let mut info = link_info(&link, &mut [])?;
    if info.type_ != UPROBE_MULTI {
        return None;
    }
    let mut path = vec![0; libc::PATH_MAX as usize];
    info = link_info(&link, &mut path)?;
    debug_assert_eq!(info.id, id);
    let path = path.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(path).into_owned())
}

fn link_info(link: &OwnedFd, path: &mut [u8]) -> Option<bpf_link_info> {
    // SAFETY: all zeroes is a valid `bpf_link_info`, and a valid `bpf_attr`.
    let (mut info, mut attr) = unsafe {
        (
            std::mem::zeroed::<bpf_link_info>(),
            std::mem::zeroed::<bpf_attr>(),
        )
    };
    if !path.is_empty() {
        // SAFETY: the member for links of that kind.
        let uprobe = unsafe { &mut info.__bindgen_anon_1.uprobe_multi };
        uprobe.path = path.as_mut_ptr() as u64;
        uprobe.path_size = path.len() as u32;
    }
    attr.info.bpf_fd = link.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_link_info>() as u32;
    attr.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).ok()?;
    Some(info)
}

/// bpf(2), for the commands above: every pointer in `attr` is one of this file's, and lives on.
fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: by the callers, all in this file.
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
    Ok(result as RawFd)
}
