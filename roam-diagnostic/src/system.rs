//! System calls of the SIGUSR1 handler that the standard library does not offer.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook_registry::SigId;

/// Catches a signal until it is dropped.
pub(crate) struct Caught {
    has_arrived: Arc<AtomicBool>,
    /// Gets a byte with each signal. A forked child has the other end too, but not the flag.
    woken: UnixStream,
    handler: SigId,
}

impl Caught {
    pub(crate) fn new(signal: c_int) -> io::Result<Self> {
        let (woken, wake) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let has_arrived = Arc::new(AtomicBool::new(false));
        let arrives = Arc::clone(&has_arrived);
        let act = move || {
            arrives.store(true, Ordering::Release);
            // If there is no room, the reader has enough to wake up for.
            let _ = (&wake).write(&[0]);
        };
        // SAFETY: a store and a system call, and the registry restores `errno`.
        let handler = unsafe { signal_hook_registry::register(signal, act)? };
        Ok(Self {
            has_arrived,
            woken,
            handler,
        })
    }

    /// Waits for the signal. All that arrived since the last time count as one.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        while !self.has_arrived.swap(false, Ordering::AcqRel) {
            match self.woken.read(&mut [0; 64]) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        signal_hook_registry::unregister(self.handler);
    }
}

/// A descriptor that names one process, whoever gets its pid later.
pub(crate) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the call takes integers, and the descriptor it returns is nobody else's.
    unsafe {
        let descriptor = done(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Sends a signal to the process that a descriptor of [`open_process`] names.
pub(crate) fn send_signal(process: &OwnedFd, signal: c_int) -> io::Result<()> {
    let descriptor = process.as_raw_fd();
    // SAFETY: no signal information is passed; the rest are integers.
    done(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            descriptor,
            signal,
            null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(|_| ())
}

/// Whether a descriptor becomes ready for `events` in time; that of a process can be read once it is gone.
pub(crate) fn is_ready(descriptor: RawFd, events: i16, limit: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd: descriptor,
        events,
        revents: 0,
    };
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left_ms = left.as_millis().try_into().unwrap_or(c_int::MAX);
        // SAFETY: one structure, which outlives the call.
        match unsafe { libc::poll(&mut poll, 1, left_ms) } {
            1 => return true,
            // A signal that this thread got, the next SIGUSR1 for example.
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
}

/// Descriptor 2, which stays open.
pub(crate) fn standard_error() -> ManuallyDrop<File> {
    // SAFETY: the file is never dropped, so the descriptor is not closed.
    ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDERR_FILENO) })
}

fn done(result: c_long) -> io::Result<RawFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}
