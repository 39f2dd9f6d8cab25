//! Runs the tool, which may be kept waiting, and measures it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, getgid, pidfd_open, prlimit};
use wait4::Wait4;

/// When a tracer is killed.
const WATCHDOG: Duration = Duration::from_secs(30);
/// Until a signal is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Until one that was killed must be gone: the kernel keeps it where a file system does not answer.
const END: Duration = Duration::from_secs(10);
/// What most systems let a process open unless it asks for more.
const OPEN_FILES: u64 = 1_024;

/// What the tool did and what it took.
#[derive(Default)]
pub(super) struct Measured {
    /// `None` where a signal ended it.
    pub(super) status: Option<i32>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) took: Duration,
    pub(super) cpu: Duration,
    pub(super) peak_bytes: u64,
}

/// What it printed. There may be too much of it to be kept: the memory of this program counts for those that it forks.
#[derive(Default)]
pub(super) struct Output {
    /// The lines that were asked for.
    pub(super) lines: Vec<String>,
    /// Whether there is nothing that steers a terminal, turns the direction of writing, or has no width.
    pub(super) is_printable: bool,
}

/// Runs it to the end, or kills it. Keeps the lines of its standard output that have one of `words`.
pub(super) fn measure(command: Command, words: &[String]) -> Result<Measured> {
    let (child, began) = start(command, words)?;
    finish(child, began, WATCHDOG)
}

/// Sends it a signal after a while, and again soon after: the first ends the watching of a tracer with probes, which then
/// prints. Measures the time from the first on; `None` if it ended before.
pub(super) fn interrupt(
    command: Command,
    signal: Signal,
    after: Duration,
) -> Result<Option<Duration>> {
    let (mut child, began) = start(command, &[])?;
    if wait(&child.0, after)? {
        finish(child, began, END)?;
        return Ok(None);
    }
    let sent = Instant::now();
    let send = || rustix::process::kill_process(Pid::from_child(&child.0), signal);
    send()?;
    if !wait(&child.0, AGAIN_AFTER)? {
        send()?;
    }
    // Whoever reads from it goes on reading.
    let took = match wait(&child.0, WATCHDOG)? {
        true => sent.elapsed(),
        false => {
            child.0.kill()?;
            WATCHDOG
        }
    };
    finish(child, began, END)?;
    Ok(Some(took))
}

/// A child and its output.
type Started = (Child, Receiver<Output>, Receiver<Output>);

fn start(mut command: Command, words: &[String]) -> Result<(Started, Instant)> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Has the child forked, see `process::spawn`.
        .gid(getgid().as_raw());
    let began = Instant::now();
    let mut child = command.spawn().context("starting the tool")?;
    let limit = Rlimit {
        current: Some(OPEN_FILES),
        maximum: prlimit_maximum(),
    };
    prlimit(Some(Pid::from_child(&child)), Resource::Nofile, limit)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = read(stdout.context("no standard output")?, words.to_vec());
    let stderr = read(stderr.context("no standard error")?, vec![String::new()]);
    Ok(((child, stdout, stderr), began))
}

fn prlimit_maximum() -> Option<u64> {
    rustix::process::getrlimit(Resource::Nofile).maximum
}

fn read(stream: impl Read + Send + 'static, words: Vec<String>) -> Receiver<Output> {
    let (sender, output) = channel();
    std::thread::spawn(move || {
        let mut output = Output {
            is_printable: true,
            ..Output::default()
        };
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            match String::from_utf8(line) {
                Ok(line) => {
                    output.is_printable &= !line.chars().any(is_unprintable);
                    if words.iter().any(|word| line.contains(word)) {
                        output.lines.push(line);
                    }
                }
                Err(_) => output.is_printable = false,
            }
        }
        sender.send(output)
    });
    output
}

fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

fn finish(
    (mut child, stdout, stderr): Started,
    began: Instant,
    limit: Duration,
) -> Result<Measured> {
    if !wait(&child, limit)? {
        child.kill()?;
        if !wait(&child, END)? {
            // It ends when the attack does.
            return Ok(Measured {
                took: began.elapsed(),
                ..Measured::default()
            });
        }
    }
    let took = began.elapsed();
    let ended = child.wait4()?;
    Ok(Measured {
        status: match ended.status.signal() {
            Some(_) => None,
            None => ended.status.code(),
        },
        stdout: stdout.recv()?,
        stderr: stderr.recv()?,
        took,
        cpu: ended.rusage.utime + ended.rusage.stime,
        peak_bytes: ended.rusage.maxrss,
    })
}

/// Waits for the end of a process, and says whether it came.
fn wait(child: &Child, limit: Duration) -> Result<bool> {
    let end = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let limit = Timespec::try_from(limit)?;
    Ok(poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&limit))? > 0)
}
