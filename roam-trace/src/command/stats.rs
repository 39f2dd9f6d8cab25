//! `roam-trace stats`: how many calls of each method ended, and how long they took.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::Write;
use std::thread::sleep;
use std::time::Instant;

use anyhow::Result;
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use roam_dump::duration::Took;
use roam_dump::model::{Gap, MethodStatistics, Process, SCHEMA_VERSION};
use roam_dump::read::{Budget, MethodKey};
use roam_trace_common::event::Direction;
use schemars::JsonSchema;
use serde::Serialize;
use tabwriter::{Alignment, TabWriter};

use super::by_registry::by_registry;
use super::errors::Errors;
use super::select::select;
use crate::cli::StatsArgs;
use crate::error::{Exit, TargetError};
use crate::micros::micros;
use crate::privilege;
use crate::process::{Share, Target, retire_worker};

/// What is printed.
#[derive(Serialize, JsonSchema)]
pub(super) struct Stats {
    /// Version of the JSON, the same as that of a dump.
    schema_version: u32,
    /// Time of the second reading.
    taken_at: Timestamp,
    processes: Vec<ProcessStats>,
}

#[derive(Serialize, JsonSchema)]
struct ProcessStats {
    process: Process,
    /// What is missing.
    gaps: Vec<Gap>,
    /// Microseconds between the two readings.
    interval_us: u64,
    methods: Vec<Row>,
}

/// A method with the calls that ended per second between the two readings.
#[derive(Serialize, JsonSchema)]
struct Row {
    #[serde(flatten)]
    statistics: MethodStatistics,
    /// `None` if the first reading does not show how many had ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_second: Option<f64>,
}

/// Reads the statistics of processes twice and prints them.
///
/// # Errors
///
/// `/proc` cannot be listed, or the output cannot be written.
pub(super) fn run(args: &StatsArgs, out: &mut impl Write) -> Result<Exit> {
    let mut errors = Errors::default();
    let selected = select(&args.targets, &HashSet::new(), &mut errors)?;
    let shares = Share::divide(Budget::of_statistics(args.max_rows), &selected.targets);
    let before: Vec<_> = shares.iter().map(Sample::of).collect();
    sleep(args.interval);
    let mut processes = Vec::new();
    for (share, before) in shares.iter().zip(before) {
        match statistics(share, before) {
            Ok(statistics) => processes.push(statistics),
            Err(error @ TargetError::Ended { .. }) if selected.is_found(share.target) => {
                log::debug!("{error}");
            }
            Err(error) => errors.report(&error),
        }
    }
    // A reader of the table that is slow must not keep the privileges.
    privilege::drop_all()?;
    retire_worker();
    if !processes.is_empty() {
        let stats = Stats {
            schema_version: SCHEMA_VERSION,
            taken_at: Timestamp::now(),
            processes,
        };
        if args.json.json {
            match args.json.is_pretty() {
                true => serde_json::to_writer_pretty(&mut *out, &stats)?,
                false => serde_json::to_writer(&mut *out, &stats)?,
            }
            writeln!(out)?;
        } else {
            write(&stats, out)?;
        }
    }
    Ok(errors.exit())
}

/// How many calls each registry of a process had seen end at one moment.
struct Sample {
    taken: Instant,
    /// Empty if they cannot be read: the second reading reports why.
    registries: Vec<HashMap<MethodKey, u64>>,
}

impl Sample {
    fn of(share: &Share<'_>) -> Self {
        let registries = share.target.read_ended(share.budget).unwrap_or_default();
        Self {
            taken: Instant::now(),
            registries,
        }
    }
}

fn statistics(share: &Share<'_>, before: Sample) -> Result<ProcessStats, TargetError> {
    let target: &Target = share.target;
    let reading = target.read_methods(share.budget)?;
    // Otherwise it is not known which registry is which.
    let is_same = reading.images.len() == before.registries.len();
    let snapshot = by_registry(target, reading)?;
    let interval = before.taken.elapsed();
    let methods = snapshot.methods.into_iter().map(|statistics| {
        let key = (statistics.method_id, statistics.direction.code());
        let ended = statistics.outcomes.ended();
        let rate_per_second = is_same.then(|| {
            let ended_before = before.registries[statistics.registry as usize].get(&key);
            let new = ended.saturating_sub(ended_before.copied().unwrap_or(0));
            new as f64 / interval.as_secs_f64().max(f64::MIN_POSITIVE)
        });
        Row {
            statistics,
            rate_per_second,
        }
    });
    Ok(ProcessStats {
        process: snapshot.process,
        gaps: snapshot.gaps,
        interval_us: micros(interval),
        methods: methods.collect(),
    })
}

fn write(stats: &Stats, out: &mut impl Write) -> std::io::Result<()> {
    for (index, process) in stats.processes.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let interval = Took(process.interval_us);
        writeln!(out, "{}: rate over {interval}", process.process)?;
        for gap in &process.gaps {
            writeln!(out, "incomplete: {gap}")?;
        }
        if process.methods.is_empty() {
            // Which of them ended is unknown where only probes report them.
            if !process.gaps.contains(&Gap::ProbesOnly { attached: false }) {
                writeln!(out, "no call has ended")?;
            }
            continue;
        }
        // Numbers are read from the right, names from the left: they come last.
        let mut table = TabWriter::new(&mut *out)
            .padding(2)
            .alignment(Alignment::Right);
        writeln!(
            table,
            "RATE/S\tCOUNT\tERRORS\tSENT\tRECEIVED\tP50\tP90\tP99\tMAX\t  METHOD"
        )?;
        for row in &process.methods {
            writeln!(table, "{row}")?;
        }
        table.flush()?;
    }
    Ok(())
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = &self.statistics;
        let ended = row.outcomes.ended();
        let errors = ended.saturating_sub(row.outcomes.ok);
        let (way, sent, received) = match row.direction {
            Direction::Outgoing => ("→", row.request_bytes, row.response_bytes),
            Direction::Incoming => ("←", row.response_bytes, row.request_bytes),
        };
        let [sent, received] =
            [sent, received].map(|bytes| format_size(bytes, DECIMAL.decimal_places(1)));
        match self.rate_per_second {
            Some(rate) => write!(f, "{rate:.1}\t")?,
            None => f.write_str("-\t")?,
        }
        write!(f, "{ended}\t{errors}\t{sent}\t{received}\t")?;
        match &row.latency {
            Some(latency) => {
                let times = [
                    latency.p50_us,
                    latency.p90_us,
                    latency.p99_us,
                    latency.max_us,
                ];
                for time in times.map(Took) {
                    write!(f, "{time}\t")?;
                }
            }
            None => f.write_str("-\t-\t-\t-\t")?,
        }
        match &row.method {
            Some(method) => write!(f, "  {way} {method}")?,
            None => write!(f, "  {way} method_id={:#018x}", row.method_id)?,
        }
        match row.registry {
            0 => Ok(()),
            registry => write!(f, " (registry {})", registry + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use roam_dump::model::{Latency, Outcomes};

    use super::*;

    fn row(method: Option<&str>, direction: Direction, ok: u64, registry: u32) -> Row {
        let latency = Latency {
            p50_us: 331,
            p90_us: 9_200,
            p99_us: 1_250_000,
            max_us: 61_000_000,
        };
        Row {
            statistics: MethodStatistics {
                method_id: 0xbad,
                method: method.map(Into::into),
                direction,
                registry,
                outcomes: Outcomes {
                    ok,
                    dropped: 2,
                    ..Outcomes::default()
                },
                request_bytes: ok * 120,
                response_bytes: ok,
                latency: (ok > 0).then_some(latency),
                last_ended_us: None,
            },
            rate_per_second: (registry == 0).then_some(ok as f64 / 7.0),
        }
    }

    #[test]
    fn tables() {
        let process = |pid, name: &str, gaps, methods| ProcessStats {
            process: Process::new(pid, name),
            gaps,
            interval_us: 1_000_300,
            methods,
        };
        let rows = vec![
            row(Some("Http.get"), Direction::Outgoing, 123_456, 0),
            row(Some("数据.读取"), Direction::Incoming, 7, 1),
            row(None, Direction::Incoming, 0, 0),
        ];
        let lost = Gap::TableFull {
            table: "statistics",
            count: 5,
        };
        let stats = Stats {
            schema_version: SCHEMA_VERSION,
            taken_at: Timestamp::UNIX_EPOCH,
            processes: vec![
                process(4242, "demo-host", vec![lost], rows),
                process(4243, "demo-cell", Vec::new(), Vec::new()),
            ],
        };
        let mut out = Vec::new();
        write(&stats, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
