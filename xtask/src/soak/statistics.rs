//! Compares the statistics of a process with its own log of calls, which knows nothing of roam.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use roam_trace_common::latency::{bucket_of, units_of_ns};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_json::Value;

use crate::process;

/// The result of a comparison.
#[derive(Default)]
pub(crate) struct Comparison {
    /// Calls that the statistics have counted.
    pub(crate) calls: u64,
    /// Percentiles that were compared.
    pub(crate) percentiles: u64,
    pub(crate) wrong: Vec<String>,
}

/// A line of the log.
#[derive(Deserialize)]
struct Line {
    direction: Direction,
    method: String,
    tag: u64,
    monotonic_ns: u64,
    event: Event,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Outgoing,
    Incoming,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Start,
    Ok,
    UserError,
    Failed,
    Dropped,
}

/// What the log says of the calls that a process made of one method.
#[derive(Default)]
struct Logged {
    /// Calls that had begun when the statistics had been read.
    begun: u64,
    /// Calls that had ended before the statistics were read, by outcome.
    ended: HashMap<Event, u64>,
    /// What the answered ones among them took, in nanoseconds.
    answered_ns: Vec<u64>,
}

/// Compares the calls that a process made with the statistics that `stats` prints of it.
pub(crate) fn compare(mut stats: Command, log: &Path) -> Result<Comparison> {
    let before_ns = monotonic_ns();
    stats.args(["--json", "--interval", "0s"]);
    let printed: Value = serde_json::from_str(&process::read(stats)?).context("statistics")?;
    let mut logged = read(log, before_ns, monotonic_ns())?;
    ensure!(!logged.is_empty(), "nothing in {}", log.display());
    let mut comparison = Comparison::default();
    for row in printed["processes"][0]["methods"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if row["direction"] == "outgoing" {
            let method = row["method"].as_str().unwrap_or_default();
            let logged = logged.remove(method).unwrap_or_default();
            comparison.count(method, row, &logged);
            comparison.latencies(method, row, logged);
        }
    }
    // Calls that are in the log only.
    for (method, logged) in logged {
        if logged.ended.values().sum::<u64>() > 0 {
            comparison.wrong.push(format!("{method} has no statistics"));
        }
    }
    Ok(comparison)
}

impl Comparison {
    /// What ended between the two is in one of them only: no call that had not begun has ended, and every call that
    /// had ended before is counted.
    fn count(&mut self, method: &str, row: &Value, logged: &Logged) {
        let outcome = |name: &str| row["outcomes"][name].as_u64().unwrap_or(0);
        let counted: u64 = row["outcomes"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, count)| count.as_u64())
            .sum();
        self.calls += counted;
        let ended: u64 = logged.ended.values().sum();
        if !(ended..=logged.begun).contains(&counted) {
            let begun = logged.begun;
            self.wrong.push(format!(
                "{method}: {counted} calls counted; {ended} had ended before, and {begun} had begun after"
            ));
        }
        let in_flight = logged.begun - ended;
        for (name, event) in [("ok", Event::Ok), ("user_error", Event::UserError)] {
            let least = logged.ended.get(&event).copied().unwrap_or(0);
            let counted = outcome(name);
            if !(least..=least + in_flight).contains(&counted) {
                self.wrong.push(format!(
                    "{method}: {counted} ended as {name}; the log has {least}, and {in_flight} under way"
                ));
            }
        }
    }

    /// Within one bucket.
    fn latencies(&mut self, method: &str, row: &Value, mut logged: Logged) {
        logged.answered_ns.sort_unstable();
        for (name, percent) in [("p50_us", 50), ("p90_us", 90), ("p99_us", 99)] {
            let rank = (logged.answered_ns.len() * percent).div_ceil(100);
            let Some(&expected_ns) = logged.answered_ns.get(rank.saturating_sub(1)) else {
                continue;
            };
            self.percentiles += 1;
            let found_us = row["latency"][name].as_u64().unwrap_or(0);
            let bucket = |ns| bucket_of(units_of_ns(ns));
            if bucket(expected_ns).abs_diff(bucket(found_us * 1_000)) > 1 {
                let expected_us = expected_ns / 1_000;
                self.wrong.push(format!(
                    "{method}: {name} {found_us}, by the log {expected_us}"
                ));
            }
        }
    }
}

/// The calls that the log's process made, by method.
fn read(log: &Path, before_ns: u64, after_ns: u64) -> Result<HashMap<String, Logged>> {
    let file = File::open(log).with_context(|| format!("opening {}", log.display()))?;
    let mut methods: HashMap<String, Logged> = HashMap::new();
    let mut begun: HashMap<u64, u64> = HashMap::new();
    for line in BufReader::new(file).lines() {
        // The last line may be half written.
        let Ok(line) = serde_json::from_str::<Line>(&line?) else {
            continue;
        };
        if line.direction != Direction::Outgoing || line.monotonic_ns > after_ns {
            continue;
        }
        let logged = methods.entry(line.method).or_default();
        if line.event == Event::Start {
            logged.begun += 1;
            begun.insert(line.tag, line.monotonic_ns);
        } else if line.monotonic_ns <= before_ns {
            let started_ns = begun.remove(&line.tag).unwrap_or(line.monotonic_ns);
            *logged.ended.entry(line.event).or_default() += 1;
            if matches!(line.event, Event::Ok | Event::UserError) {
                logged.answered_ns.push(line.monotonic_ns - started_ns);
            }
        }
    }
    Ok(methods)
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
