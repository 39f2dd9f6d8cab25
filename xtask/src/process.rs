//! Starts other programs and reads what they print, with a deadline where one can hang. The only
//! place that does; it never decides what an output means.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getgid, kill_process, pidfd_open};
use wait4::Wait4;

use crate::paths;

/// How a program ended.
pub(crate) struct Finished {
    pub(crate) success: bool,
    /// What it printed, line by line.
    pub(crate) text: String,
    /// From its start.
    pub(crate) took: Duration,
    /// Time of processors, of its children too.
    pub(crate) cpu: Duration,
    /// The most memory that it used.
    pub(crate) peak_bytes: u64,
}

impl Finished {
    pub(crate) fn milliseconds(&self) -> f64 {
        self.took.as_secs_f64() * 1e3
    }

    pub(crate) fn peak_megabytes(&self) -> f64 {
        self.peak_bytes as f64 / f64::from(1 << 20)
    }

    /// The end of the output: where a build or a test says what went wrong.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let all: Vec<_> = self.text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// A program and its arguments, as words without spaces.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_ascii_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// The same of cargo, in the repository. Rustup's is meant, so that another toolchain can be chosen.
pub(crate) fn cargo(line: &str) -> Command {
    let mut cargo = command("cargo");
    cargo
        .args(line.split_ascii_whitespace())
        .current_dir(paths::root())
        // To be ready to build a part again takes a sixth of the time that it takes to build all.
        .env("CARGO_INCREMENTAL", "0");
    cargo
}

/// Whether it can be run and succeeds, its output thrown away.
pub(crate) fn succeeds(line: &str) -> bool {
    capture(command(line)).is_ok_and(|finished| finished.success)
}

/// Runs to the end without showing the output.
pub(crate) fn capture(command: Command) -> Result<Finished> {
    Process::spawn(command, true)?.end(None, |_| ())
}

/// The same with a deadline: a program that is still running then is killed, and that is the error.
pub(crate) fn capture_within(limit: Duration, mut command: Command) -> Result<Finished> {
    command.stdin(Stdio::null());
    Process::spawn(command, true)?.end(Some(Instant::now() + limit), |_| ())
}

/// Runs to the end, showing every line as it comes.
pub(crate) fn show(command: Command) -> Result<Finished> {
    println!("$ {}", describe(&command));
    Process::spawn(command, true)?.end(None, |line| println!("{line}"))
}

/// [`show`], where only success will do.
pub(crate) fn require(command: Command) -> Result<()> {
    let name = describe(&command);
    ensure!(show(command)?.success, "`{name}` failed");
    Ok(())
}

/// What a program that succeeds prints to its standard output. Nothing is shown, but for its standard error.
pub(crate) fn read(command: Command) -> Result<String> {
    Ok(read_measured(command)?.text)
}

/// The same, with what it took.
pub(crate) fn read_measured(command: Command) -> Result<Finished> {
    let name = describe(&command);
    let finished = Process::spawn(command, false)?.end(None, |_| ())?;
    ensure!(finished.success, "`{name}` failed");
    Ok(finished)
}

/// Runs a program that succeeds, its standard output thrown away unread.
pub(crate) fn measure(mut command: Command) -> Result<Finished> {
    let name = describe(&command);
    let began = Instant::now();
    let mut child = spawn(command.stdout(Stdio::null()))?;
    let finished = collect(&mut child, began, String::new())?;
    ensure!(finished.success, "`{name}` failed");
    Ok(finished)
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.context("no such pid")?, signal)?)
}

/// A program running beside this one. Dropping it kills it.
pub(crate) struct Process {
    name: String,
    child: Child,
    began: Instant,
    lines: Receiver<String>,
    is_collected: bool,
}

impl Process {
    /// Starts with standard input piped and standard output read line by line.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped());
        Self::spawn(command, false)
    }

    fn spawn(mut command: Command, merge_stderr: bool) -> Result<Self> {
        let name = describe(&command);
        let (reader, writer) = pipe()?;
        if merge_stderr {
            command.stderr(writer.try_clone()?);
        }
        let began = Instant::now();
        let child = spawn(command.stdout(writer))?;
        // The command owns the write ends: with it they close here, so that the child's end is the end.
        drop(command);
        Ok(Self {
            name,
            child,
            began,
            lines: lines_of(reader),
            is_collected: false,
        })
    }

    /// The next line, or `None` at the end of the output. Without a deadline it waits for either.
    fn line(&self, deadline: Option<Instant>) -> Result<Option<String>> {
        let Some(deadline) = deadline else {
            return Ok(self.lines.recv().ok());
        };
        match self.lines.recv_timeout(deadline - Instant::now()) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("`{}` did not answer in time", self.name),
        }
    }

    /// The next line, or `None` at the end of the output.
    pub(crate) fn next_line(&self, deadline: Instant) -> Result<Option<String>> {
        self.line(Some(deadline))
    }

    /// Reads until a line satisfies `wanted`.
    pub(crate) fn wait_for(
        &self,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + limit;
        while let Some(line) = self.next_line(deadline)? {
            if wanted(&line) {
                return Ok(line);
            }
        }
        bail!("`{}` ended before it was ready", self.name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("its input is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("writing to `{}`", self.name))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: Signal) -> Result<()> {
        signal(self.pid(), name).with_context(|| format!("sending a signal to `{}`", self.name))
    }

    /// Closes its standard input, reads what is left of its output and waits for its end.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<Finished> {
        drop(self.child.stdin.take());
        self.end(Some(Instant::now() + limit), |_| ())
    }

    fn end(mut self, deadline: Option<Instant>, mut each: impl FnMut(&str)) -> Result<Finished> {
        let mut text = String::new();
        while let Some(line) = self.line(deadline).with_context(|| text.clone())? {
            each(&line);
            text.push_str(&line);
            text.push('\n');
        }
        if let Some(deadline) = deadline {
            let end = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
            let left = Timespec::try_from(deadline - Instant::now())?;
            let ended = poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&left))?;
            ensure!(ended > 0, "{text}`{}` did not end in time", self.name);
        }
        self.is_collected = true;
        collect(&mut self.child, self.began, text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_collected {
            // Both fail where it has ended already, which is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command
        // What is in force anyway has the child forked: one that shares this program's memory until it executes the
        // other program is said to have used as much.
        .gid(getgid().as_raw())
        .spawn()
        .with_context(|| format!("starting `{}`", describe(command)))
}

fn collect(child: &mut Child, began: Instant, text: String) -> Result<Finished> {
    let ended = child.wait4()?;
    Ok(Finished {
        success: ended.status.success(),
        text,
        took: began.elapsed(),
        cpu: ended.rusage.utime + ended.rusage.stime,
        peak_bytes: ended.rusage.maxrss,
    })
}

fn lines_of(reader: PipeReader) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
