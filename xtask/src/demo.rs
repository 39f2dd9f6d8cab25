//! Shows the product at work: a demo program that hangs, and what `roam-trace` says of it. Also the place
//! that knows how to start the demo.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::process::{self, Process};
use crate::{install, paths};

/// A host floods its cells with 100,000 calls in less.
const READY: Duration = Duration::from_secs(60);
/// Gives the hung call an age that stands out in the dump.
const LOOK_AFTER: Duration = Duration::from_secs(3);

/// Builds, starts a hung demo, shows the dumps, stops it.
pub(crate) fn run() -> Result<()> {
    let programs = Programs::build()?;
    println!("\nStarting a host with two cells; a handler in one of them never answers.");
    let demo = Demo::start(&programs, &["--hang", "handler"])?;
    println!(
        "host {}, cells {:?}; the dump follows in {LOOK_AFTER:?}",
        demo.host, demo.cells
    );
    std::thread::sleep(LOOK_AFTER);

    println!("\nA dump of the host and its first cell, from their registries:");
    programs.show(&demo, &[])?;
    if install::is_root() {
        println!("\nThe same with the probes attached for two seconds:");
        programs.show(&demo, &["-d", "2s"])?;
    } else {
        println!("\nTo attach the probes for two seconds as well (-d 2s), run this as root.");
    }
    demo.stop()
}

/// The product's and the demo's executables.
pub(crate) struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Builds them for release.
    pub(crate) fn build() -> Result<Self> {
        process::require(process::cargo(
            "build --release --package demo --package roam-trace",
        ))?;
        Ok(Self::built())
    }

    /// Those that were built before.
    pub(crate) fn built() -> Self {
        Self {
            directory: paths::target().join("release"),
        }
    }

    pub(crate) fn trace(&self) -> Command {
        Command::new(self.directory.join("roam-trace"))
    }

    /// A host with that many cells.
    pub(crate) fn demo(&self, cells: u32, arguments: &[&str]) -> Command {
        Self::demo_at(&self.directory.join("roam-demo"), cells, arguments)
    }

    /// The same by another copy of the program.
    pub(crate) fn demo_at(program: &Path, cells: u32, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(["host", "--cells", &cells.to_string()])
            .args(arguments);
        command
    }

    fn show(&self, demo: &Demo, arguments: &[&str]) -> Result<()> {
        let mut command = self.trace();
        let cell = demo.cells.first().context("the demo has no cell")?;
        command.args(["-p", &demo.host.to_string(), "-p", &cell.to_string()]);
        command.args(arguments);
        process::require(command)
    }
}

/// A running demo.
pub(crate) struct Demo {
    pub(crate) host: u32,
    pub(crate) cells: Vec<u32>,
    process: Process,
}

impl Demo {
    /// Starts a host with two cells and waits until it says that it is as it was ordered.
    pub(crate) fn start(programs: &Programs, arguments: &[&str]) -> Result<Self> {
        Self::start_by(programs.demo(2, arguments))
    }

    /// The same by a command that starts a host.
    pub(crate) fn start_by(command: Command) -> Result<Self> {
        let process = Process::start(command)?;
        let line = process.wait_for(READY, |line| line.starts_with('{'))?;
        let ready: Value = serde_json::from_str(&line).context("the demo's ready line")?;
        ensure!(ready["ready"] == true, "the demo is not ready: {line}");
        let cells = ready["cells"]
            .as_array()
            .context("no cells in the ready line")?;
        Ok(Self {
            host: pid(&ready["host"])?,
            cells: cells.iter().map(pid).collect::<Result<_>>()?,
            process,
        })
    }

    /// Waits until a cell that ended is there again.
    pub(crate) fn await_restart(&mut self, within: Duration) -> Result<()> {
        let line = self
            .process
            .wait_for(within, |line| line.starts_with('{'))?;
        let restarted: Value = serde_json::from_str(&line).context("the demo's line")?;
        let ended = pid(&restarted["ended"])?;
        let cell = self.cells.iter_mut().find(|cell| **cell == ended);
        *cell.context("a cell that nobody knows ended")? = pid(&restarted["pid"])?;
        Ok(())
    }

    /// Asks the host to end, which ends its cells.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.finish(READY)?;
        Ok(())
    }
}

fn pid(value: &Value) -> Result<u32> {
    let pid = value.as_u64().and_then(|pid| u32::try_from(pid).ok());
    pid.context("the demo's line lacks a pid")
}
