//! Starts other programs and reads what they print, with a deadline where one can hang. The only
//! place that does; it never decides what an output means.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// What a program that ended left behind.
pub(crate) struct Finished {
    pub(crate) success: bool,
    /// Standard output and standard error, in the order they were written.
    pub(crate) text: String,
}

impl Finished {
    /// The end of the output: where a build or a test says what went wrong.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let all: Vec<_> = self.text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// `cargo` with arguments. The proxy of rustup is meant, so that `+toolchain` works.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments);
    command
}

/// Runs to the end and hands back the output without showing it.
pub(crate) fn capture(command: Command) -> Result<Finished> {
    read_to_end(command, |_| ())
}

/// Runs to the end, showing every line as it comes.
pub(crate) fn show(command: Command) -> Result<Finished> {
    println!("$ {}", describe(&command));
    read_to_end(command, |line| println!("{line}"))
}

/// Runs to the end without showing anything. Returns the most memory that it used, in kilobytes, as well.
pub(crate) fn measure(command: Command) -> Result<(Finished, u64)> {
    let mut process = Process::spawn(command, false)?;
    let (status, peak_kilobytes) = wait_with_peak(&mut process.child)?;
    let text = process.rest(|_| ());
    let success = status.success();
    Ok((Finished { success, text }, peak_kilobytes))
}

/// Waits for the end of a program. Returns the most memory that it used, in kilobytes, as well: the kernel
/// forgets it with the process.
pub(crate) fn wait_with_peak(child: &mut Child) -> Result<(ExitStatus, u64)> {
    let mut peak_kilobytes = 0;
    loop {
        peak_kilobytes = peak_kilobytes.max(status_kilobytes(child.id(), "VmHWM:"));
        if let Some(status) = child.try_wait()? {
            return Ok((status, peak_kilobytes));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.context("no such pid")?, signal)?)
}

/// A field of a process's `status` that is in kilobytes; 0 where there is none.
pub(crate) fn status_kilobytes(pid: u32, field: &str) -> u64 {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            let value = line.strip_prefix(field)?.trim();
            value.strip_suffix(" kB")?.parse().ok()
        })
        .unwrap_or(0)
}

/// [`show`], where only success will do.
pub(crate) fn require(command: Command) -> Result<()> {
    let name = describe(&command);
    if show(command)?.success {
        Ok(())
    } else {
        bail!("`{name}` failed")
    }
}

fn read_to_end(command: Command, each: impl FnMut(&str)) -> Result<Finished> {
    let mut process = Process::spawn(command, true)?;
    let text = process.rest(each);
    let success = process.child.wait()?.success();
    Ok(Finished { success, text })
}

/// A program running beside this one. Dropping it kills it.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
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
        let child = command
            .stdout(writer)
            .spawn()
            .with_context(|| format!("starting `{name}`"))?;
        // The command owns the write ends: with it they close here, so that the child's end is the end.
        drop(command);
        Ok(Self {
            name,
            child,
            lines: lines_of(reader),
        })
    }

    /// Everything that is left of the output, line by line and as a whole.
    fn rest(&self, mut each: impl FnMut(&str)) -> String {
        let mut text = String::new();
        for line in &self.lines {
            each(&line);
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// The next line, or `None` at the end of the output.
    pub(crate) fn next_line(&self, deadline: Instant) -> Result<Option<String>> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("`{}` did not answer in time", self.name),
        }
    }

    /// Reads until a line satisfies `wanted`.
    pub(crate) fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + within;
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
        writeln!(stdin, "{line}").with_context(|| format!("telling `{}`", self.name))
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) -> Result<()> {
        signal(self.pid(), Signal::INT).with_context(|| format!("interrupting `{}`", self.name))
    }

    /// Closes its standard input and reads what is left of its output.
    pub(crate) fn finish(mut self, within: Duration) -> Result<Finished> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + within;
        let mut text = String::new();
        while let Some(line) = self.next_line(deadline)? {
            text.push_str(&line);
            text.push('\n');
        }
        let success = self.child.wait()?.success();
        Ok(Finished { success, text })
    }

    /// Asks it to end with SIGTERM, so that it can end its own children, and waits.
    pub(crate) fn terminate(mut self) -> Result<()> {
        signal(self.pid(), Signal::TERM).with_context(|| format!("ending `{}`", self.name))?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
