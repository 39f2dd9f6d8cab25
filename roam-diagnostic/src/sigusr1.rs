//! Waits for SIGUSR1 on a thread of its own and writes a dump: it works while every runtime worker is
//! blocked and while another thread holds the lock of stdout or stderr. What the dump says is the caller's
//! business. Nothing happens unless [`install`] is called.
//!
//! A dump is written in parts, each by one `write` of at most `PIPE_BUF` (4,096) bytes, which a pipe does not mix with
//! what other processes write to it. Each part stands between two marker lines, which name the process, the number of
//! the dump (from 1, in that process), the section, the part and the number of parts of that section:
//!
//! ```text
//! --- roam-dump begin pid=4242 dump=1 section=registry part=1/3 ---
//! --- roam-dump end pid=4242 dump=1 section=registry part=1/3 ---
//! ```
//!
//! The lines between the markers of one process and dump, in the order of the parts, are that dump. Its section
//! `callbacks` follows once the callbacks have returned, if there are any. Parts end where lines end; of a line that is
//! too long for a part, each piece but the last ends with `…`. If standard error takes no byte for one second, the rest
//! of the dump is dropped.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use libc::SIGUSR1;
use thiserror::Error;

use crate::parts::{Section, write_parts};
use crate::system::Caught;
use crate::{callback, system};

/// Name of the thread that writes dumps.
pub const THREAD: &str = "roam-sigusr1";

/// Bytes that a pipe takes without mixing them with those of others: the `PIPE_BUF` of Linux.
const PIPE_BUF: usize = 4_096;

/// How long a full pipe behind descriptor 2 is waited for.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

static INSTALLED: AtomicBool = AtomicBool::new(false);
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Why the handler for SIGUSR1 could not be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The system denied the signal handler.
    #[error("cannot install the handler for SIGUSR1: {0}")]
    Signal(#[source] io::Error),
    /// The thread that writes dumps could not be started.
    #[error("cannot start the thread that writes dumps: {0}")]
    Thread(#[source] io::Error),
}

struct Child {
    pid: u32,
    pidfd: OwnedFd,
}

/// Installs a handler that, on SIGUSR1, writes what `dump` returns, the children that got the signal too, and then the
/// text of every [`callback`] to descriptor 2, in the parts that [the module](self) describes. Signals that arrive
/// meanwhile count as one. A second call does nothing.
///
/// # Errors
///
/// [`InstallError`]; SIGUSR1 then has the effect that it had before.
pub fn install(dump: fn() -> String) -> Result<(), InstallError> {
    if INSTALLED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let start = || {
        let mut signal = Caught::new(SIGUSR1).map_err(InstallError::Signal)?;
        thread::Builder::new()
            .name(THREAD.into())
            .spawn(move || {
                for dumps in 1.. {
                    if signal.wait().is_err() {
                        return;
                    }
                    let children = forward();
                    let mut text = dump();
                    if !children.is_empty() {
                        let _ = writeln!(text, "[children] got SIGUSR1 too: pids {children:?}");
                    }
                    let write = |section, text: &str| {
                        let of = Section {
                            pid: std::process::id(),
                            dump: dumps,
                            section,
                        };
                        write_parts(text, of, PIPE_BUF, write_all)
                    };
                    // First, since a callback may hang, or end the process where panics abort.
                    if write("registry", &text) {
                        text.clear();
                        callback::run_all(|part| text.push_str(part));
                        write("callbacks", &text);
                    }
                }
            })
            .map_err(InstallError::Thread)
    };
    start()
        .map(|_| ())
        .inspect_err(|_| INSTALLED.store(false, Ordering::Release))
}

/// Forwards SIGUSR1 to a child from now on. A child that does not catch SIGUSR1 gets none, since the signal
/// would end it.
///
/// # Errors
///
/// The error of the system call, for example if no process has that pid.
pub fn register_child_pid(pid: u32) -> io::Result<()> {
    let pidfd = system::open_process(pid)?;
    lock().push(Child { pid, pidfd });
    Ok(())
}

/// Sends the signal on to the children that catch it, and forgets those that are gone. Returns the pids of those that
/// got it.
fn forward() -> Vec<u32> {
    let mut signalled = Vec::new();
    lock().retain(|child| {
        // The pidfd names the child that was registered: should its pid have been reused, the
        // status is another process's, but the signal goes nowhere.
        if !catches_sigusr1(child.pid) {
            return !system::is_ready(child.pidfd.as_raw_fd(), libc::POLLIN, Duration::ZERO);
        }
        let sent = system::send_signal(&child.pidfd, SIGUSR1);
        signalled.extend(sent.is_ok().then_some(child.pid));
        !sent.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
    });
    signalled
}

fn catches_sigusr1(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| {
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .is_some_and(|mask| mask & 1 << (SIGUSR1 - 1) != 0)
}

/// Writes to descriptor 2 itself: the lock of `std::io::stderr` may be held by a blocked thread. Returns whether all was
/// written.
fn write_all(mut bytes: &[u8]) -> bool {
    let mut stderr = system::standard_error();
    while !bytes.is_empty() {
        // Most pipes block: where nobody reads, a write would never return.
        if !system::is_ready(libc::STDERR_FILENO, libc::POLLOUT, WRITE_LIMIT) {
            return false;
        }
        match stderr.write(bytes) {
            Ok(0) => return false,
            Ok(written) => bytes = &bytes[written..],
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                _ => return false,
            },
        }
    }
    true
}

fn lock() -> MutexGuard<'static, Vec<Child>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}
