//! Hours in minutes: a demo under traffic whose cells are killed, dumped over and over in every way there is.
//! Checks every dump, and whether the memory of target and tracer stays as it is.

mod armed;
mod statistics;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use armed::Armed;
use statistics::Comparison;

use crate::demo::{Demo, Programs};
use crate::tally::Tally;
use crate::{machine, paths, process};

/// Of the kinds of round, one each in that many.
const WINDOW_EACH: u64 = 5;
const SIGNAL_EACH: u64 = 7;
const KILL_EACH: u64 = 11;
/// The same with armed probes.
const EXECUTE_EACH: u64 = 13;
const REPLACE_EACH: u64 = 101;
/// How long the probes are attached in a round that attaches them.
const WINDOW: &str = "500ms";
/// No call of the ordinary traffic takes longer, on a busy machine either.
const OLDEST_US: u64 = 10_000_000;
/// How long a cell may take to be there again, and a dump to be written.
const WITHIN: Duration = Duration::from_secs(30);
/// Growth of memory that counts as growth.
const GROWTH: f64 = 1.1;

/// What happened, and what it took.
#[derive(Default)]
pub(crate) struct Log {
    /// Dumps of host and cells.
    pub(crate) rounds: u64,
    windows: u64,
    signals: u64,
    kills: u64,
    replaced: u64,
    executed: u64,
    /// Snapshots compared with the armed maps.
    armed: u64,
    rows: u64,
    watched: u64,
    pub(crate) wrong: Vec<String>,
    statistics: Option<Comparison>,
    /// Resident kilobytes of the host, after each round.
    target: Vec<u64>,
    /// The same of `arm --watch`.
    watcher: Vec<u64>,
    /// Open descriptors of the host, after each round.
    descriptors: Vec<u64>,
    /// The most that each tracer used, in kilobytes, by what the report calls that.
    tracer: BTreeMap<&'static str, Vec<u64>>,
}

/// Runs for that long, prints the results and checks them.
pub(crate) fn run(minutes: u64, is_armed: bool) -> Result<Tally> {
    soak(minutes, is_armed).map(|log| log.report(minutes))
}

/// Runs for that long; with armed probes if they are asked for.
pub(crate) fn soak(minutes: u64, is_armed: bool) -> Result<Log> {
    machine::prepare_to_attach()?;
    let programs = Programs::build()?;
    let stderr = paths::scratch().join("soak-stderr");
    fs::create_dir_all(paths::scratch())?;
    let calls = paths::scratch().join("soak-calls");
    let armed = match is_armed {
        true => Some(Armed::start(&programs)?),
        false => None,
    };
    let start = || -> Result<Demo> {
        let arguments = ["--rate", "200", "--restart", "--log"];
        let mut command = match &armed {
            Some(armed) => Programs::demo_at(&armed.demo(), 2, &arguments),
            None => programs.demo(2, &arguments),
        };
        command.arg(&calls);
        command.stderr(fs::File::create(&stderr)?);
        Demo::start_by(command)
    };
    let mut demo = start()?;
    let deadline = Instant::now() + Duration::from_secs(60 * minutes);
    let mut log = Log::default();
    while Instant::now() < deadline {
        log.rounds += 1;
        if let Some(armed) = &armed
            && log.rounds.is_multiple_of(REPLACE_EACH)
        {
            armed.replace(&programs)?;
            demo.stop()?;
            demo = start()?;
            log.replaced += 1;
        }
        log.round(&programs, &mut demo, &stderr, armed.as_ref())
            .with_context(|| format!("round {}", log.rounds))?;
        if log.rounds.is_multiple_of(50) {
            println!("{} rounds, {} wrong", log.rounds, log.wrong.len());
        }
    }
    // Armed probes take time, of which the program's own log has more than its statistics.
    if armed.is_none() {
        let mut stats = programs.trace();
        stats.args(["stats", "-p", &demo.host.to_string()]);
        let calls = format!("{}.{}", calls.display(), demo.host);
        log.statistics = Some(statistics::compare(stats, calls.as_ref())?);
    }
    demo.stop()?;
    if let Some(armed) = armed {
        log.wrong.extend(armed.check(&programs)?);
        armed.stop(&programs)?;
    }
    Ok(log)
}

impl Log {
    fn round(
        &mut self,
        programs: &Programs,
        demo: &mut Demo,
        stderr: &PathBuf,
        armed: Option<&Armed>,
    ) -> Result<()> {
        if self.rounds.is_multiple_of(KILL_EACH) {
            let cell = demo.cells[self.kills as usize % demo.cells.len()];
            process::signal(cell, Signal::KILL)?;
            demo.await_restart(WITHIN)?;
            self.kills += 1;
        }
        if self.rounds.is_multiple_of(SIGNAL_EACH) {
            let written = dumps(stderr)?;
            process::signal(demo.host, Signal::USR1)?;
            let deadline = Instant::now() + WITHIN;
            // The host's and those of its cells.
            while dumps(stderr)? < written + 1 + demo.cells.len() {
                ensure!(Instant::now() < deadline, "no dump after SIGUSR1");
                std::thread::sleep(Duration::from_millis(10));
            }
            self.signals += 1;
        }
        if self.rounds.is_multiple_of(WINDOW_EACH) {
            self.windows += 1;
            self.dump(
                programs,
                demo,
                "memory of a dump with probes, kB",
                &["-d", WINDOW],
            )?;
        } else {
            self.dump(
                programs,
                demo,
                "memory of a dump from the registry, kB",
                &[],
            )?;
        }
        if let Some(armed) = armed {
            if self.rounds.is_multiple_of(EXECUTE_EACH) {
                armed.execute()?;
                self.executed += 1;
            }
            self.wrong.extend(armed.check(programs)?);
            self.watcher.push(resident_kilobytes(armed.watcher())?);
        }
        self.target.push(resident_kilobytes(demo.host)?);
        let descriptors = fs::read_dir(format!("/proc/{}/fd", demo.host))?.count();
        self.descriptors.push(descriptors as u64);
        Ok(())
    }

    fn dump(
        &mut self,
        programs: &Programs,
        demo: &Demo,
        kind: &'static str,
        arguments: &[&str],
    ) -> Result<()> {
        let mut command = armed::with_pins(programs.trace());
        command
            .args(["--json", "--children", "-p", &demo.host.to_string()])
            .args(arguments);
        let finished = process::read_measured(command)?;
        let peaks = self.tracer.entry(kind).or_default();
        peaks.push(finished.peak_bytes / 1024);
        let dump = serde_json::from_str(&finished.text).context("what roam-trace printed")?;
        self.check(&dump, demo);
        Ok(())
    }

    fn check(&mut self, dump: &Value, demo: &Demo) {
        let processes = dump["processes"].as_array().map_or(&[][..], Vec::as_slice);
        if processes.len() != 1 + demo.cells.len() {
            self.wrong
                .push(format!("{} processes in a dump", processes.len()));
        }
        for process in processes {
            self.armed += u64::from(process.get("armed_us").is_some());
            for gap in process["gaps"].as_array().into_iter().flatten() {
                self.wrong.push(format!("incomplete: {gap}"));
            }
            for request in process["requests"].as_array().into_iter().flatten() {
                self.rows += 1;
                if request["age_us"].as_u64() > Some(OLDEST_US) {
                    self.wrong.push(format!("an old row: {request}"));
                }
            }
            let connections = process["window"]["connections"].as_array();
            self.watched += connections
                .into_iter()
                .flatten()
                .filter_map(|connection| connection["ended"].as_u64())
                .sum::<u64>();
        }
    }

    /// Prints a table of it all. Fails where a dump was wrong, and where memory grew.
    pub(crate) fn report(&self, minutes: u64) -> Tally {
        println!("\n| {minutes} min | |\n| --- | --- |");
        let line = |what: &str, value: String| println!("| {what} | {value} |");
        line("dumps of host and two cells", self.rounds.to_string());
        line(
            "of those with probes attached",
            format!(
                "{} ({} requests ended during the windows)",
                self.windows, self.watched
            ),
        );
        line("SIGUSR1", self.signals.to_string());
        line("cells killed and restarted", self.kills.to_string());
        if self.armed > 0 {
            line(
                "snapshots compared with the armed maps",
                self.armed.to_string(),
            );
            line("executables replaced", self.replaced.to_string());
            line(
                "processes that executed themselves",
                self.executed.to_string(),
            );
        }
        line("rows shown", self.rows.to_string());
        line(
            "dumps incomplete, rows of calls that ended long before",
            self.wrong.len().to_string(),
        );
        let mut tally = Tally::one(self.wrong.is_empty());
        for wrong in self.wrong.iter().take(10) {
            println!("wrong: {wrong}");
        }
        if let Some(statistics) = &self.statistics {
            line(
                "calls in the host's statistics, and percentiles, compared with its own log",
                format!("{} and {}", statistics.calls, statistics.percentiles),
            );
            line(
                "of those wrong, or a percentile off by more than a bucket",
                statistics.wrong.len().to_string(),
            );
            for wrong in &statistics.wrong {
                println!("wrong: {wrong}");
            }
            tally += Tally::one(statistics.wrong.is_empty());
        }
        let host = [
            ("memory of the host, kB", &self.target),
            ("descriptors of the host", &self.descriptors),
            ("memory of arm --watch, kB", &self.watcher),
        ];
        let host = host.into_iter().filter(|(_, values)| !values.is_empty());
        let tracer = self.tracer.iter().map(|(&kind, peaks)| (kind, peaks));
        for (what, values) in host.chain(tracer) {
            let (early, late) = halves(values);
            line(
                what,
                format!("{early} in the first half, {late} in the second"),
            );
            tally += Tally::one(late as f64 <= early as f64 * GROWTH);
        }
        tally
    }
}

/// The middle value of either half. The first eighth is left out: a program that has just started grows.
fn halves(values: &[u64]) -> (u64, u64) {
    let settled = &values[values.len() / 8..];
    let (early, late) = settled.split_at(settled.len() / 2);
    let middle = |values: &[u64]| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    };
    (middle(early), middle(late))
}

/// The memory that a process has, which `/proc` gives in kilobytes.
fn resident_kilobytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(value.context("a process without memory")?.parse()?)
}

/// Dumps written to a standard error so far.
fn dumps(stderr: &PathBuf) -> Result<usize> {
    Ok(fs::read_to_string(stderr)?
        .matches("] RPC DIAGNOSTIC DUMP")
        .count())
}
