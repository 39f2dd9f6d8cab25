//! The dump on SIGUSR1, written by a thread of its own: it works while every
//! runtime worker is blocked and while another thread holds the lock of stdout
//! or stderr. Nothing happens unless [`install`] is called.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::Signals;
use thiserror::Error;

use crate::read::read_own;
use crate::render::text;
use crate::snapshot::{Dump, SCHEMA_VERSION};
use crate::state::{own_snapshot, registered_states};

/// How long a callback may take.
const CALLBACK_LIMIT: Duration = Duration::from_secs(1);

static INSTALLED: AtomicBool = AtomicBool::new(false);
static CALLBACKS: Mutex<Vec<Arc<Callback>>> = Mutex::new(Vec::new());
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Why the handler could not be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The signal handler was refused.
    #[error("cannot handle SIGUSR1: {0}")]
    Signal(#[source] io::Error),
    /// The thread that writes dumps could not be started.
    #[error("cannot start the thread that writes the dump: {0}")]
    Thread(#[source] io::Error),
}

struct Callback {
    name: String,
    run: Box<dyn Fn(&mut String) + Send + Sync>,
    /// A call that took too long and has not returned.
    stuck: AtomicBool,
}

struct Child {
    pid: u32,
    pidfd: OwnedFd,
}

/// Writes a dump to descriptor 2 whenever the process receives SIGUSR1. Calling it again does nothing.
///
/// # Errors
///
/// [`InstallError`]; the process is then as before.
pub fn install() -> Result<(), InstallError> {
    if INSTALLED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let start = || {
        let mut signals = Signals::new([SIGUSR1]).map_err(InstallError::Signal)?;
        thread::Builder::new()
            .name("roam-sigusr1".into())
            .spawn(move || {
                for _ in signals.forever() {
                    forward();
                    write_dump();
                }
            })
            .map_err(InstallError::Thread)
    };
    start()
        .map(|_| ())
        .inspect_err(|_| INSTALLED.store(false, Ordering::Release))
}

/// Adds something to every dump. `name` stands for it where it panics or takes over a second, and is skipped.
pub fn register_diagnostic(
    name: impl Into<String>,
    callback: impl Fn(&mut String) + Send + Sync + 'static,
) {
    lock(&CALLBACKS).push(Arc::new(Callback {
        name: name.into(),
        run: Box::new(callback),
        stuck: AtomicBool::new(false),
    }));
}

/// Forwards SIGUSR1 to a child from now on, whenever that child catches it: the signal would end it otherwise.
///
/// # Errors
///
/// No process has that pid.
pub fn register_child_pid(pid: u32) -> io::Result<()> {
    let id = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(id, PidfdFlags::empty())?;
    lock(&CHILDREN).push(Child { pid, pidfd });
    Ok(())
}

/// Sends the signal on to the children that catch it, and forgets those that are gone.
fn forward() {
    lock(&CHILDREN).retain(|child| {
        // The pidfd names the child that was registered: should its pid have been reused, the
        // status is another process's, but the signal goes nowhere.
        if !catches_sigusr1(child.pid) {
            return !is_ready(&child.pidfd, PollFlags::IN, Duration::ZERO);
        }
        pidfd_send_signal(&child.pidfd, Signal::USR1) != Err(rustix::io::Errno::SRCH)
    });
}

/// Whether a descriptor becomes ready in time; a pidfd is readable once its process is gone.
fn is_ready(descriptor: impl AsFd, wanted: PollFlags, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&descriptor, wanted)], Some(&limit)) == Ok(1)
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

fn write_dump() {
    let mut output = Vec::new();
    match read_own() {
        Some(Ok(mut image)) => {
            let dump = Dump {
                schema_version: SCHEMA_VERSION,
                taken_at: Timestamp::now(),
                processes: vec![own_snapshot(&mut image)],
                graph: None,
            };
            let options = text::Options {
                color: false,
                time_zone: TimeZone::system(),
            };
            // Writing to memory does not fail.
            let _ = text::render(&mut output, &dump, &options);
        }
        Some(Err(error)) => output.extend(format!("roam-diagnostic: {error}\n").bytes()),
        None => output.extend(
            *b"roam-diagnostic: nothing was recorded (no connection yet, or ROAM_DIAGNOSTIC=off)\n",
        ),
    }
    write_all(&output);

    let states = registered_states().into_iter().map(|state| {
        Arc::new(Callback {
            name: state.name.clone(),
            run: Box::new(move |text| state.run_callbacks(text)),
            stuck: AtomicBool::new(false),
        })
    });
    let callbacks = lock(&CALLBACKS).clone();
    for callback in callbacks.into_iter().chain(states) {
        write_all(run(&callback).as_bytes());
    }
}

/// What a callback has to say, or why it says nothing.
fn run(callback: &Arc<Callback>) -> String {
    let name = &callback.name;
    if callback.stuck.swap(true, Ordering::AcqRel) {
        return format!("[{name}] skipped: still running since an earlier dump\n");
    }
    let (sender, receiver) = channel();
    let running = Arc::clone(callback);
    let started = thread::Builder::new()
        .name("roam-diagnostic".into())
        .spawn(move || {
            let mut text = String::new();
            let result = catch_unwind(AssertUnwindSafe(|| (running.run)(&mut text)));
            running.stuck.store(false, Ordering::Release);
            let _ = sender.send(result.map(|()| text));
        });
    if let Err(error) = started {
        callback.stuck.store(false, Ordering::Release);
        return format!("[{name}] skipped: cannot start a thread: {error}\n");
    }
    match receiver.recv_timeout(CALLBACK_LIMIT) {
        Ok(Ok(text)) if text.is_empty() => text,
        Ok(Ok(text)) => format!("[{name}] {}\n", text.trim_end()),
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
            format!("[{name}] skipped: panicked\n")
        }
        Err(RecvTimeoutError::Timeout) => format!("[{name}] skipped: takes over 1 s\n"),
    }
}

/// Writes to descriptor 2 itself: the lock of `std::io::stderr` may be held by a blocked thread.
fn write_all(mut bytes: &[u8]) {
    use rustix::io::{Errno, write};
    let stderr = rustix::stdio::stderr();
    while !bytes.is_empty() {
        match write(stderr, bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if is_ready(stderr, PollFlags::OUT, CALLBACK_LIMIT) => {}
            Err(_) => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
