//! Attacks by what processes are: full of descriptors or threads, short-lived, or in an unusual state.

use std::fs::File;
use std::io::Result as IoResult;
use std::os::fd::IntoRawFd;
use std::thread;

use anyhow::Result;
use roam_trace_common::registry::Table;

use crate::registry::{Registry, publish_empty};
use crate::siege::{Siege, check, hold};

/// Enough for a thread that only waits.
const STACK_BYTES: usize = 16 << 10;

/// A registry that is found by its mapping only, after all descriptors were looked at.
pub(crate) fn descriptors(siege: &mut Siege, processes: u32, each: u32) -> Result<()> {
    let null = File::open("/dev/null")?.into_raw_fd();
    for _ in 0..processes {
        siege.start(|| {
            drop(Registry::new([1; Table::ALL.len()])?.publish()?);
            // SAFETY: only takes a number.
            (0..each).try_for_each(|_| check(unsafe { libc::dup(null) }.into()).map(drop))
        })?;
    }
    Ok(())
}

/// Threads whose states a tracer counts.
pub(crate) fn threads(siege: &mut Siege, processes: u32, threads: u32) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| {
            for _ in 0..threads {
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                thread.spawn(|| hold())?;
            }
            publish_empty()
        })?;
    }
    Ok(())
}

/// Processes that start others and wait for their end, without a pause. Pids are given to one after the other.
pub(crate) fn churn(siege: &mut Siege, processes: u32) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| {
            let worker = std::process::id().cast_signed();
            // SAFETY: this process has one thread.
            match check(unsafe { libc::fork() }.into())? {
                0 => come_and_go(worker),
                _ => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Ends with `worker`.
fn come_and_go(worker: libc::pid_t) -> IoResult<()> {
    // SAFETY: this process has one thread, and its children end at once.
    unsafe {
        while libc::getppid() == worker {
            match check(libc::fork().into())? {
                0 => {
                    let published = publish_empty();
                    libc::_exit(published.is_err().into());
                }
                child => {
                    libc::waitpid(child as libc::pid_t, std::ptr::null_mut(), 0);
                }
            }
        }
        libc::_exit(0)
    }
}

/// One process in each state that could keep a tracer waiting.
pub(crate) fn states(siege: &mut Siege) -> Result<()> {
    let stopped = siege.start(publish_empty)?;
    let traced = siege.start(publish_empty)?;
    // SAFETY: all of them only take numbers.
    unsafe {
        check(libc::kill(stopped, libc::SIGSTOP).into())?;
        check(libc::ptrace(libc::PTRACE_SEIZE, traced, 0, 0))?;
        check(libc::ptrace(libc::PTRACE_INTERRUPT, traced, 0, 0))?;
    }
    siege.start(|| {
        // SAFETY: only takes numbers.
        check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }.into())?;
        publish_empty()
    })?;
    let leader = siege.start(|| {
        publish_empty()?;
        // SAFETY: the handler only makes a system call.
        unsafe { libc::signal(libc::SIGUSR1, end_thread as *const () as usize) };
        thread::Builder::new().spawn(|| hold()).map(drop)
    })?;
    // SAFETY: only takes numbers.
    check(unsafe { libc::syscall(libc::SYS_tgkill, leader, leader, libc::SIGUSR1) })?;
    Ok(())
}

/// Ends the thread that got the signal; the others go on.
extern "C" fn end_thread(_: i32) {
    // SAFETY: nothing of this thread is used by another one.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}
