//! The application of `testing/incidents`: started in a directory of its own, and ended with what started it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use crate::paths;
use crate::process::{self, Process};

/// How long the application may take for anything, on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);
/// Long polls and streams of each of three kinds.
const POLLS: u32 = 2;

/// What goes on beside an incident.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Condition {
    /// Nothing
    Quiet,
    /// Short calls of all kinds
    Loaded,
    /// Six long polls and streams
    QuietLongpolls,
    /// Both
    LoadedLongpolls,
    /// Short calls, and connections that come and go
    Churning,
}

impl Condition {
    pub(super) fn named(name: &str) -> Result<Self> {
        let parsed = Self::from_str(name, false);
        parsed.map_err(anyhow::Error::msg)
    }

    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) fn is_loaded(self) -> bool {
        !matches!(self, Self::Quiet | Self::QuietLongpolls)
    }

    fn polls(self) -> u32 {
        match self {
            Self::QuietLongpolls | Self::LoadedLongpolls => POLLS,
            Self::Quiet | Self::Loaded | Self::Churning => 0,
        }
    }
}

/// The executables.
pub(super) struct Programs(PathBuf);

impl Programs {
    /// Builds them for release.
    pub(super) fn build() -> Result<Self> {
        process::require(process::cargo(
            "build --release --package incidents --package roam-trace",
        ))?;
        Ok(Self(paths::target().join("release")))
    }

    pub(super) fn trace(&self) -> Command {
        Command::new(self.0.join("roam-trace"))
    }

    pub(super) fn application(&self) -> Command {
        Command::new(self.0.join("roam-incidents"))
    }
}

/// A running application. Dropping it ends it.
pub(super) struct Application {
    process: Option<Process>,
    /// Where its logs are.
    pub(super) directory: PathBuf,
    /// Its processes by name.
    pub(super) pids: BTreeMap<String, u32>,
}

impl Application {
    /// Starts it and waits until everything is up, and until long polls are usual.
    pub(super) fn start(
        programs: &Programs,
        condition: Condition,
        calls_per_second: u32,
        poll: Duration,
    ) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        // Short, since a socket's path is limited to 108 bytes.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("incidents-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let rate = if condition.is_loaded() {
            calls_per_second
        } else {
            0
        };
        let mut command = programs.application();
        command
            .args(["run", "--directory"])
            .arg(&directory)
            .args(["--rate", &rate.to_string()])
            .args(["--polls", &condition.polls().to_string()])
            .args(["--poll-ms", &poll.as_millis().to_string()]);
        if condition == Condition::Churning {
            command.arg("--churn");
        }
        let mut application = Self {
            process: Some(Process::start(command)?),
            directory,
            pids: BTreeMap::new(),
        };
        let ready = application.answer("ready", WITHIN + 2 * poll)?;
        let pids = ready.as_object().context("no processes")?.iter();
        let pids =
            pids.map(|(name, pid)| Ok((name.clone(), pid.as_u64().context("no pid")? as u32)));
        application.pids = pids.collect::<Result<_>>()?;
        Ok(application)
    }

    /// Plants an incident; returns once it has taken effect.
    pub(super) fn plant(&mut self, incident: &str) -> Result<()> {
        self.say(&format!("plant {incident}"))?;
        self.answer("planted", WITHIN).map(|_| ())
    }

    /// The calls that have ended, by its own count.
    pub(super) fn count(&mut self) -> Result<Value> {
        self.say("count")?;
        self.answer("counts", WITHIN)
    }

    fn say(&mut self, line: &str) -> Result<()> {
        self.process.as_mut().context("it has ended")?.say(line)
    }

    fn answer(&self, wanted: &str, within: Duration) -> Result<Value> {
        let process = self.process.as_ref().context("it has ended")?;
        let answered = process.wait_for(within, |line| line.starts_with('{'));
        let line = answered.with_context(|| complaints(&self.directory))?;
        let mut answer: Value = serde_json::from_str(&line).context("the application's line")?;
        if let Some(error) = answer["failed"].as_str() {
            bail!("{error}\n{}", complaints(&self.directory));
        }
        Ok(answer[wanted].take())
    }
}

/// What the processes wrote to their standard error.
fn complaints(directory: &Path) -> String {
    let mut all = String::new();
    for file in fs::read_dir(directory).into_iter().flatten().flatten() {
        if file
            .path()
            .extension()
            .is_some_and(|extension| extension == "stderr")
        {
            all += &fs::read_to_string(file.path()).unwrap_or_default();
        }
    }
    all
}

impl Drop for Application {
    fn drop(&mut self) {
        // Its processes end with it, also if it must be killed.
        if let Some(process) = self.process.take()
            && let Err(error) = process.finish(WITHIN)
        {
            println!("{error:#}");
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
