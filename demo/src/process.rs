//! Processes: their names, how the host starts its cells, and that all of them end together and leave
//! nothing behind.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

/// How long a cell may take to end after SIGTERM before it is killed.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// Gives the calling thread, and with the main thread its process, a name.
pub(crate) fn set_name(name: &str) -> Result<()> {
    let name = CString::new(name)?;
    rustix::thread::set_name(&name).context("cannot name the process")
}

/// Has the kernel end this process with the thread that started it.
pub(crate) fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot set the parent death signal")
}

/// The host's cells and sockets.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    members: Arc<Mutex<Members>>,
    sockets: PathBuf,
}

#[derive(Debug)]
struct Members {
    cells: Vec<Child>,
    sockets: Option<TempDir>,
}

impl Group {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("roam-demo-")
            .tempdir()
            .context("cannot create a directory for the sockets")?;
        let group = Self {
            sockets: dir.path().to_owned(),
            members: Arc::new(Mutex::new(Members {
                cells: Vec::new(),
                sockets: Some(dir),
            })),
        };
        group.end_at_signals()?;
        Ok(group)
    }

    /// Where a socket of that name belongs.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(name)
    }

    /// Starts a cell with both standard streams for [`control`](crate::control).
    ///
    /// Call it from the main thread: a cell ends with the thread that started it.
    pub(crate) fn start_cell(&self, configure: impl FnOnce(&mut Command)) -> Result<Started> {
        // Not the path of the executable, which may be replaced while the demo runs.
        let mut command = Command::new(Path::new("/proc/self/exe"));
        command
            .arg0("roam-demo")
            .arg("cell")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        configure(&mut command);
        let mut members = self.lock();
        // A cell that could not be waited for is not there any more.
        members
            .cells
            .retain_mut(|cell| matches!(cell.try_wait(), Ok(None)));
        let mut child = command.spawn().context("cannot start a cell")?;
        let started = Started {
            pid: child.id(),
            orders: child.stdin.take().context("a cell has no standard input")?,
            reports: child
                .stdout
                .take()
                .context("a cell has no standard output")?,
        };
        members.cells.push(child);
        Ok(started)
    }

    /// Removes the sockets; the links that were made over them stay.
    pub(crate) fn remove_sockets(&self) -> Result<()> {
        self.lock()
            .sockets
            .take()
            .map_or(Ok(()), TempDir::close)
            .context("cannot remove the sockets")
    }

    /// Ends the cells and removes the sockets. Where a signal is already doing so, this never returns.
    pub(crate) fn end(&self) {
        self.lock().end();
    }

    /// Ends cells and host at SIGTERM and SIGINT, from a thread that no blocked worker holds up.
    fn end_at_signals(&self) -> Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for SIGTERM")?;
        let group = self.clone();
        thread::Builder::new()
            .name("demo-signals".to_owned())
            .spawn(move || {
                if signals.forever().next().is_some() {
                    // Held until the process is gone: links that close now are no failure.
                    let mut members = group.lock();
                    members.end();
                    std::process::exit(0);
                }
            })
            .context("cannot start the signal thread")?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn end(&mut self) {
        for cell in &self.cells {
            if let Some(pid) = i32::try_from(cell.id()).ok().and_then(Pid::from_raw) {
                // Not reaped yet, so the id is still this cell's; it may have ended by itself. One that is
                // stopped ends once it goes on.
                let _ = kill_process(pid, Signal::TERM);
                let _ = kill_process(pid, Signal::CONT);
            }
        }
        let deadline = Instant::now() + END_DEADLINE;
        for cell in &mut self.cells {
            if let Err(error) = wait_or_kill(cell, deadline) {
                eprintln!("roam-demo: cannot end cell {}: {error}", cell.id());
            }
        }
        self.cells.clear();
        if let Some(Err(error)) = self.sockets.take().map(TempDir::close) {
            eprintln!("roam-demo: cannot remove the sockets: {error}");
        }
    }
}

fn wait_or_kill(cell: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    while Instant::now() < deadline {
        if let Some(status) = cell.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    cell.kill()?;
    cell.wait()
}

/// A cell that was started, and the two ends the host has of it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) orders: std::process::ChildStdin,
    pub(crate) reports: std::process::ChildStdout,
}

/// Sends a cell a signal and waits until it is in that state, as `/proc` has it.
pub(crate) async fn signal_cell(pid: u32, signal: Signal, state: char) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.context("a cell has no pid")?;
    kill_process(pid, signal).context("cannot send a cell a signal")?;
    let deadline = Instant::now() + END_DEADLINE;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let state_now = stat
            .rsplit_once(')')
            .and_then(|(_, fields)| fields.trim_start().chars().next());
        if state_now == Some(state) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "cell {pid} is in state {state_now:?}, expected {state}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Blocks every worker thread of the current runtime for good; returns once all are blocked.
pub(crate) async fn block_workers() -> Result<()> {
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    let everybody = Arc::new(std::sync::Barrier::new(workers));
    let (blocked, mut all_blocked) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..workers {
        let everybody = everybody.clone();
        let blocked = blocked.clone();
        tokio::spawn(async move {
            // A thread that waits here takes no second task, so each task has a worker of its own.
            everybody.wait();
            let _ = blocked.send(());
            loop {
                thread::sleep(Duration::from_secs(3600));
            }
        });
    }
    for _ in 0..workers {
        all_blocked
            .recv()
            .await
            .ok_or_else(|| anyhow!("the runtime stopped"))?;
    }
    Ok(())
}
