//! The processes of an attack: each is unprivileged and has a deadline, and all end with the first one.

use std::io::{Error, Read, Result, Write, pipe};
use std::time::{Duration, Instant};

/// Who attacks.
const NOBODY: u32 = 65_534;

/// An attack that goes on. Dropping it ends its processes.
pub(crate) struct Siege {
    deadline: Instant,
    children: Vec<libc::pid_t>,
}

impl Siege {
    /// Makes this process an unprivileged one that ends by itself.
    pub(crate) fn begin(seconds: u32) -> Result<Self> {
        // SAFETY: geteuid, getegid and getppid take nothing and cannot fail.
        let (user, parent) = unsafe { (libc::geteuid(), libc::getppid()) };
        if user == 0 {
            become_nobody()?;
        }
        raise_limit()?;
        let deadline = Instant::now() + Duration::from_secs(seconds.into());
        end_with(parent, deadline)?;
        Ok(Self {
            deadline,
            children: Vec::new(),
        })
    }

    /// Starts a process that does something and then waits for its end; returns when that is done.
    pub(crate) fn start(&mut self, act: impl FnOnce() -> Result<()>) -> Result<libc::pid_t> {
        self.start_then(act, || hold())
    }

    /// The same with a process that does something until its end.
    pub(crate) fn start_then(
        &mut self,
        act: impl FnOnce() -> Result<()>,
        go_on: impl FnOnce() -> Result<()>,
    ) -> Result<libc::pid_t> {
        let (mut reader, mut writer) = pipe()?;
        let parent = std::process::id().cast_signed();
        // SAFETY: this process has one thread, so the child may do all that this one may.
        let child = check(unsafe { libc::fork() }.into())? as libc::pid_t;
        if child == 0 {
            drop(reader);
            let done = end_with(parent, self.deadline)
                .and_then(|()| act())
                .and_then(|()| writer.write_all(b"!"))
                .and_then(|()| go_on());
            if let Err(error) = done {
                eprintln!("attackers: {error}");
            }
            // SAFETY: ends this process, and nothing is left to clean up.
            unsafe { libc::_exit(1) };
        }
        self.children.push(child);
        drop(writer);
        reader.read_exact(&mut [0])?;
        Ok(child)
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        for &child in &self.children {
            // SAFETY: both only take numbers; the child is this process's until it was waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
    }
}

/// Waits for the end.
pub(crate) fn hold() -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// Turns what a C function returns into a result.
pub(crate) fn check(returned: i64) -> Result<i64> {
    match returned {
        -1 => Err(Error::last_os_error()),
        value => Ok(value),
    }
}

fn become_nobody() -> Result<()> {
    // SAFETY: an empty list of groups is not read; the rest only takes numbers.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()).into())?;
        check(libc::setgid(NOBODY).into())?;
        check(libc::setuid(NOBODY).into())?;
        // Whoever starts as this user is dumpable.
        check(libc::prctl(libc::PR_SET_DUMPABLE, 1).into())?;
    }
    Ok(())
}

/// Opens as many files as every user may.
fn raise_limit() -> Result<()> {
    let mut files = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `files` is where the limit is written to and read from.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut files).into())?;
        files.rlim_cur = files.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &files).into())?;
    }
    Ok(())
}

/// Has the kernel end this process with its parent, and at the deadline at the latest.
fn end_with(parent: libc::pid_t, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    // SAFETY: all three only take numbers.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into())?;
        libc::alarm(1 + left.as_secs() as u32);
        if libc::getppid() != parent {
            libc::_exit(1);
        }
    }
    Ok(())
}
