//! Two tracers of the same probes, ours and bpftrace, and a program to trace.

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::demo::Programs;
use crate::process::{self, Process};
use crate::{install, machine, paths};

/// The program to trace.
const LOAD: &str = "roam-load-orders";
const WITHIN: Duration = Duration::from_secs(60);
/// Calls after which it shows whether they are traced.
const SAMPLE: u64 = 2_000;
/// Samples in a row that must show it: one may have been interrupted.
const SAMPLES: usize = 3;
/// A call that costs this many times what it cost untraced is traced.
const TRACED: f64 = 20.0;
/// bpftrace attaches one probe after the other, and an interrupt before the last is lost on it.
const SETTLED: Duration = Duration::from_millis(500);
/// The script for bpftrace: it records of every request in flight what ours records.
const SCRIPT: &str = "\
    usdt:PROGRAM:roam:request_start { @inflight[arg0] = (nsecs, arg1, arg2, arg3, arg4, arg5, arg6); } \
    usdt:PROGRAM:roam:request_end { delete(@inflight[arg0]); }";

/// The program to trace, built.
pub(super) struct Loads(PathBuf);

/// What the benches of this folder start.
pub(super) struct Tools {
    programs: Programs,
    loads: Loads,
}

/// Who traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Bpftrace,
}

impl Loads {
    pub(super) fn build() -> Result<Self> {
        let build = format!("build --release --package load --bin {LOAD}");
        process::require(process::cargo(&build))?;
        Ok(Self(paths::target().join("release").join(LOAD)))
    }

    /// Starts one, with room for that many requests in flight.
    pub(super) fn start(&self, requests: u64) -> Result<Load> {
        let mut command = Command::new(&self.0);
        command.env("ROAM_DIAGNOSTIC_REQUESTS", requests.to_string());
        let process = Process::start(command)?;
        process.wait_for(WITHIN, |line| line == "ready")?;
        Ok(Load(process))
    }
}

impl Tools {
    pub(super) fn build() -> Result<Self> {
        machine::prepare_to_attach()?;
        install::packages(&install::BPFTRACE)?;
        Ok(Self {
            programs: Programs::build()?,
            loads: Loads::build()?,
        })
    }

    pub(super) fn trace(&self) -> Command {
        self.programs.trace()
    }

    /// Starts the program to trace, with room for that many requests in flight.
    pub(super) fn load(&self, requests: u64) -> Result<Load> {
        self.loads.start(requests)
    }

    /// Starts a tracer of `load`, and waits until calls are traced.
    pub(super) fn attach(&self, kind: Kind, load: &mut Load, requests: u64) -> Result<Tracer> {
        let untraced_ns = load.fastest()?;
        let command = match kind {
            Kind::Ours => {
                let mut command = self.trace();
                command.args(["--full", "--source", "probes", "-d", "1h", "-p"]);
                command.arg(load.pid().to_string());
                command
            }
            Kind::Bpftrace => {
                let mut command = Command::new("bpftrace");
                command.env("BPFTRACE_MAP_KEYS_MAX", requests.to_string());
                command.args(["-p", &load.pid().to_string(), "-e"]);
                command.arg(SCRIPT.replace("PROGRAM", &self.loads.0.to_string_lossy()));
                command
            }
        };
        let began = Instant::now();
        let process = Process::start(command)?;
        while load.fastest()? < untraced_ns * TRACED {
            if began.elapsed() > WITHIN {
                bail!("{kind:?} did not attach");
            }
        }
        let attached_in = began.elapsed();
        sleep(SETTLED);
        Ok(Tracer {
            process,
            attached_in,
        })
    }
}

/// A program that fires probes on demand.
pub(super) struct Load(Process);

impl Load {
    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Starts and ends requests. Returns nanoseconds for each.
    pub(super) fn calls(&mut self, count: u64) -> Result<f64> {
        self.0.say(&format!("calls {count}"))?;
        let line = self.0.wait_for(WITHIN, |_| true)?;
        line.parse().with_context(|| format!("load said {line}"))
    }

    /// Makes requests at a rate for a while. Returns how many.
    pub(super) fn pace(&mut self, seconds: u64) -> Result<u64> {
        self.0.say(&format!("paced {seconds}"))?;
        let line = self.0.wait_for(WITHIN, |_| true)?;
        line.parse().with_context(|| format!("load said {line}"))
    }

    /// Nanoseconds that a call takes if nothing interrupts it.
    fn fastest(&mut self) -> Result<f64> {
        (0..SAMPLES).try_fold(f64::INFINITY, |least, _| Ok(least.min(self.calls(SAMPLE)?)))
    }

    /// Starts requests that stay in flight.
    pub(super) fn start(&mut self, count: u64) -> Result<()> {
        self.0.say(&format!("rows {count}"))?;
        self.0.wait_for(WITHIN, |line| line == "started")?;
        Ok(())
    }
}

/// A tracer at work.
pub(super) struct Tracer {
    process: Process,
    pub(super) attached_in: Duration,
}

/// A tracer from the interrupt to its end.
pub(super) struct Ended {
    pub(super) milliseconds: f64,
    pub(super) lines: usize,
}

impl Tracer {
    /// Interrupts it, and reads what it prints to the end.
    pub(super) fn end(self) -> Result<Ended> {
        let began = Instant::now();
        self.process.signal(Signal::INT)?;
        let finished = self.process.finish(WITHIN)?;
        Ok(Ended {
            milliseconds: began.elapsed().as_secs_f64() * 1e3,
            lines: finished.text.lines().count(),
        })
    }
}
