//! What programs lose while `roam-trace top` reads them ten times a second, and what that takes itself.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::param::clock_ticks_per_second;

use super::spread::{RUNS, Spread};
use super::tracer::Loads;
use crate::demo::Programs;
use crate::interop::Build;
use crate::process::Process;
use crate::terminal::{Size, Terminal};

/// A usual terminal.
const SIZE: Size = Size {
    rows: 50,
    columns: 160,
};
/// About a second of calls in one thread.
const CALLS: u64 = 10_000_000;
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

/// One thread that does nothing but start and end calls, with a processor left for the tracer.
fn one_thread(programs: &Programs) -> Result<()> {
    let mut load = Loads::build()?.start(REQUESTS)?;
    load.calls(CALLS)?;
    let (mut kept, mut used, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let mut took = [0.0; 2];
        for is_watched in order(run) {
            let top = is_watched
                .then(|| Top::start(programs, &[load.pid()]))
                .transpose()?;
            took[usize::from(is_watched)] = load.calls(CALLS)?;
            used.extend(top.map(Top::end).transpose()?);
        }
        rates.push(1e9 / took[0]);
        kept.push(took[0] / took[1]);
    }
    println!(
        "one thread, {:.0} calls/s, one processor left: {:.4}; top took {:.3} of a processor",
        Spread::of(rates),
        Spread::of(kept),
        Spread::of(used)
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
        for is_watched in order(run) {
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
            used.extend(top.map(Top::end).transpose()?);
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

/// Whether a run is watched: each of the two goes first in turn.
fn order(run: usize) -> [bool; 2] {
    let first = run % 2 == 1;
    [first, !first]
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
        terminal.wait_for("q quit");
        Ok(Self {
            cpu: cpu_time(terminal.pid())?,
            terminal,
            began: Instant::now(),
        })
    }

    /// Quits. Returns how much of a processor it took.
    fn end(mut self) -> Result<f64> {
        let used = cpu_time(self.terminal.pid())? - self.cpu;
        let part = used.as_secs_f64() / self.began.elapsed().as_secs_f64();
        self.terminal.press("q");
        ensure!(self.terminal.finish().status == 0, "top failed");
        Ok(part)
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
