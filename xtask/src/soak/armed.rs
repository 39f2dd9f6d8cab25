//! The soak with armed probes: the executable of the demo is replaced again and again, and other processes execute
//! themselves. Checks that the kernel maps have rows of living processes only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::demo::Programs;
use crate::paths;
use crate::process::{self, Process};

/// How long a replaced executable may take to be armed, and rows of a process that has just ended to be gone.
const WITHIN: Duration = Duration::from_secs(30);
const EXECUTIONS: u32 = 20;

/// Probes that `arm --watch` keeps armed.
pub(super) struct Armed {
    directory: PathBuf,
    watcher: Process,
}

impl Armed {
    /// Arms copies of the demo and of the load.
    pub(super) fn start(programs: &Programs) -> Result<Self> {
        process::require(process::cargo("build --release --package load"))?;
        let directory = paths::scratch().join("soak-armed");
        fs::create_dir_all(&directory)?;
        let names = ["roam-demo", "roam-load"];
        for name in names {
            install(&directory, name)?;
        }
        let mut command = with_pins(programs.trace());
        command.args(["arm", "--watch", "--exe"]);
        command.args(names.map(|name| directory.join(name)));
        let armed = Self {
            directory,
            watcher: Process::start(command)?,
        };
        armed.wait_until_current(programs)?;
        Ok(armed)
    }

    /// The demo that is armed.
    pub(super) fn demo(&self) -> PathBuf {
        self.directory.join("roam-demo")
    }

    /// The process that arms what is replaced.
    pub(super) fn watcher(&self) -> u32 {
        self.watcher.pid()
    }

    /// Puts another file in the place of the demo, as an update does.
    pub(super) fn replace(&self, programs: &Programs) -> Result<()> {
        install(&self.directory, "roam-demo")?;
        self.wait_until_current(programs)
    }

    /// Runs a program that executes itself some times, with requests in flight, and is then killed.
    pub(super) fn execute(&self) -> Result<()> {
        let log = self.directory.join("log");
        let mut command = Command::new(self.directory.join("roam-load"));
        command.arg(&log).arg(format!("execs={EXECUTIONS}"));
        let load = Process::start(command)?;
        sleep(Duration::from_millis(300));
        load.signal(Signal::KILL)?;
        load.finish(WITHIN)?;
        Ok(())
    }

    /// Returns what is wrong with the maps, if anything is: rows of processes that are not there, and losses.
    pub(super) fn check(&self, programs: &Programs) -> Result<Option<String>> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let armed = report(programs)?;
            let wrong = wrong(&armed);
            // A process may have ended between two readings.
            if wrong.is_none() || Instant::now() > deadline {
                return Ok(wrong);
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Disarms everything, which ends the watcher.
    pub(super) fn stop(self, programs: &Programs) -> Result<()> {
        let mut command = with_pins(programs.trace());
        command.arg("disarm");
        process::require(command)?;
        ensure!(self.watcher.finish(WITHIN)?.success, "arm --watch failed");
        Ok(())
    }

    fn wait_until_current(&self, programs: &Programs) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let armed = report(programs)?;
            let executables = list(&armed, "executables");
            let current = executables.filter(|armed| armed["current"] == true);
            if current.count() == 2 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not armed in time: {armed:#}");
            sleep(Duration::from_millis(10));
        }
    }
}

/// Has the tracer use pins of its own.
pub(super) fn with_pins(mut command: Command) -> Command {
    command.env("ROAM_TRACE_PINS", "/sys/fs/bpf/roam-trace-soak");
    command
}

fn install(directory: &Path, name: &str) -> Result<()> {
    let new = directory.join("new");
    fs::copy(paths::target().join("release").join(name), &new)?;
    Ok(fs::rename(new, directory.join(name))?)
}

fn report(programs: &Programs) -> Result<Value> {
    let mut command = with_pins(programs.trace());
    command.args(["armed", "--json"]);
    serde_json::from_str(&process::read(command)?).context("what roam-trace armed printed")
}

fn wrong(armed: &Value) -> Option<String> {
    if armed["gaps"] != Value::Array(Vec::new()) {
        return Some(format!("lost: {}", armed["gaps"]));
    }
    let of_processes = |count: &str| -> u64 {
        let counts = list(armed, "processes").map(|process| process[count].as_u64());
        counts.flatten().sum()
    };
    let rows = |map: &str| {
        let mut maps = list(armed, "maps");
        maps.find(|row| row["map"] == map)?["rows"].as_u64()
    };
    let pairs = [
        ("REQUESTS", of_processes("requests")),
        ("CHANNELS", of_processes("channels")),
        ("CONNECTIONS", of_processes("connections")),
        ("TARGETS", list(armed, "processes").count() as u64),
    ];
    pairs
        .into_iter()
        .find(|&(map, of_processes)| rows(map) != Some(of_processes))
        .map(|(map, of_processes)| {
            format!(
                "{map} has {:?} rows, of living processes {of_processes}",
                rows(map)
            )
        })
}

fn list<'a>(armed: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    armed[name].as_array().map_or(&[][..], Vec::as_slice).iter()
}
