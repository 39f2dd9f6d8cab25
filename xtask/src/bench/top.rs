//! What programs lose while `roam-trace top` reads them ten times a second, and what that takes itself.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::param::clock_ticks_per_second;
use rustix::process::Signal;

use super::spread::{RUNS, Spread};
use super::tracer::Loads;
use crate::demo::Programs;
use crate::interop::Build;
use crate::process::{self, Process};
use crate::terminal::{Size, Terminal};

/// A usual terminal.
const SIZE: Size = Size {
    rows: 50,
    columns: 160,
};
/// A quarter of a second of calls in one thread.
const CALLS: u64 = 8_000_000;
/// Whether a slice is watched: what drifts meets both halves.
const SLICES: [bool; 8] = [false, true, true, false, true, false, false, true];
const REQUESTS: u64 = 131_072;
const WAYS: [&str; 2] = ["sequential", "64 at once"];
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn run() -> Result<()> {
    println!(
        "roam-trace top --interval 100ms: calls per second of programs that it reads, as a part of those without it:"
    );
    let programs = Programs::build()?;
    one_thread(&programs)?;
    two_processes(&programs)
}

/// One thread that does nothing but start and end calls, with a processor left for the tracer, which is stopped in half of
/// the slices.
fn one_thread(programs: &Programs) -> Result<()> {
    let mut load = Loads::build()?.start(REQUESTS)?;
    load.calls(CALLS)?;
    let top = Top::start(programs, &[load.pid()])?;
    let (mut kept, mut rates) = (Vec::new(), Vec::new());
    let mut watched = Duration::ZERO;
    for _ in 0..RUNS {
        let mut took = [0.0; 2];
        for is_watched in SLICES {
            let began = Instant::now();
            process::signal(
                top.terminal.pid(),
                if is_watched {
                    Signal::CONT
                } else {
                    Signal::STOP
                },
            )?;
            took[usize::from(is_watched)] += load.calls(CALLS)?;
            watched += if is_watched {
                began.elapsed()
            } else {
                Duration::ZERO
            };
        }
        let slices = (SLICES.len() / 2) as f64;
        rates.push(1e9 / (took[0] / slices));
        kept.push(took[0] / took[1]);
    }
    process::signal(top.terminal.pid(), Signal::CONT)?;
    let used = top.end()?.as_secs_f64() / watched.as_secs_f64();
    println!(
        "one thread, {:.0} calls/s, one processor left: {:.4}; top took {used:.3} of a processor",
        Spread::of(rates),
        Spread::of(kept),
    );
    Ok(())
}

/// Two processes that call over a socket and need both processors of a machine with two.
fn two_processes(programs: &Programs) -> Result<()> {
    let calls = Build::of("drop-in", "calls", "--release")?;
    let mut kept = WAYS.map(|_| Vec::new());
    let mut rates = WAYS.map(|_| Vec::new());
    let mut used = Vec::new();
    for run in 0..RUNS {
        let mut numbers = [Vec::new(), Vec::new()];
        // Each of the two goes first in turn.
        let first = run % 2 == 1;
        for is_watched in [first, !first] {
            let process = Process::start(calls.command())?;
            let top = match is_watched {
                true => Some(Top::start(
                    programs,
                    &[process.pid(), child_of(process.pid())?],
                )?),
                false => None,
            };
            let mut lines = Vec::new();
            while let Some(line) = process.next_line(Instant::now() + DEADLINE)? {
                lines.push(line.parse::<f64>()?);
            }
            if let Some(top) = top {
                let took = top.began.elapsed();
                used.push(top.end()?.as_secs_f64() / took.as_secs_f64());
            }
            process.finish(DEADLINE)?;
            ensure!(lines.len() == WAYS.len(), "calls printed {lines:?}");
            numbers[usize::from(is_watched)] = lines;
        }
        for way in 0..WAYS.len() {
            rates[way].push(numbers[0][way]);
            kept[way].push(numbers[1][way] / numbers[0][way]);
        }
    }
    for ((way, rates), kept) in WAYS.iter().zip(rates).zip(kept) {
        println!(
            "two processes, {way}, {:.0} calls/s: {:.3}",
            Spread::of(rates),
            Spread::of(kept)
        );
    }
    println!("top took {:.3} of a processor", Spread::of(used));
    Ok(())
}

/// The server that a program starts.
fn child_of(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Some(child) = fs::read_to_string(&path)?.split_ascii_whitespace().next() {
            return Ok(child.parse()?);
        }
        sleep(Duration::from_millis(1));
    }
    anyhow::bail!("process {pid} starts no child")
}

/// `roam-trace top`, on a terminal of its own.
struct Top {
    terminal: Terminal,
    began: Instant,
    cpu: Duration,
}

impl Top {
    /// Starts it, and waits until it has read the processes.
    fn start(programs: &Programs, pids: &[u32]) -> Result<Self> {
        let mut command = programs.trace();
        command.args(["top", "--interval", "100ms"]);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let mut terminal = Terminal::start(&command, SIZE);
        terminal.wait_for_screen("rows", |screen| screen.contents().contains("q quit"));
        Ok(Self {
            cpu: cpu_time(terminal.pid())?,
            terminal,
            began: Instant::now(),
        })
    }

    /// Quits. Returns the time of processors that it took since it had read the processes.
    fn end(mut self) -> Result<Duration> {
        let used = cpu_time(self.terminal.pid())? - self.cpu;
        self.terminal.press("q");
        ensure!(self.terminal.finish().status == 0, "top failed");
        Ok(used)
    }
}

/// The time of processors that a process has used.
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|&field| fields[field].parse().unwrap_or(0))
        .sum();
    Ok(Duration::from_secs_f64(
        ticks as f64 / clock_ticks_per_second() as f64,
    ))
}
