//! `roam-trace histogram`: how long the calls of each method took.

use std::collections::HashSet;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use roam_dump::duration::Took;
use roam_dump::model::{Gap, Process, SCHEMA_VERSION};
use roam_dump::render::Counted;
use roam_trace_common::event::{Direction, LiveMode};
use roam_trace_common::latency::{BUCKETS, PER_OCTAVE, ns_of_units, upper_bound};
use schemars::JsonSchema;
use serde::Serialize;

use super::errors::Errors;
use super::live::{begin, divide, probed, report_end, report_failure, select_live};
use crate::attach::{LiveOptions, Outcomes, Tracer};
use crate::cli::HistogramArgs;
use crate::error::Exit;
use crate::live::{MethodFilter, MethodHistogram, Names, Stop, histograms, unnamed};
use crate::micros::micros;
use crate::privilege;
use crate::process::retire_worker;
use crate::watch::log_ebpf;

/// The time between two looks at whether to stop.
const STEP: Duration = Duration::from_millis(50);

/// Characters of the longest bar.
const BAR: usize = 40;

/// What is printed.
#[derive(Serialize, JsonSchema)]
pub(super) struct HistogramReport {
    /// Version of the JSON, the same as that of a dump.
    schema_version: u32,
    /// When counting ended.
    taken_at: Timestamp,
    /// Microseconds that calls were counted for.
    duration_us: u64,
    /// What is missing, over all processes.
    gaps: Vec<Gap>,
    processes: Vec<ProcessHistograms>,
}

#[derive(Serialize, JsonSchema)]
struct ProcessHistograms {
    process: Process,
    /// Those with most calls first.
    methods: Vec<MethodHistogram>,
}

/// Counts the latencies of calls, and prints them.
///
/// # Errors
///
/// `/proc` cannot be listed, a kernel map cannot be read, or the output cannot be written.
pub(super) fn run(args: &HistogramArgs, verbose: bool, out: &mut impl Write) -> Result<Exit> {
    let mut errors = Errors::default();
    let selected = select_live(&args.targets, &mut errors)?;
    let shares = divide(&selected);
    let shares = probed(&shares, &selected, &mut errors);
    if shares.is_empty() {
        return Ok(errors.exit());
    }
    let mut stop = match Stop::on_signals(args.duration) {
        Ok(stop) => stop,
        Err(error) => {
            report_failure(error, &mut errors);
            return Ok(errors.exit());
        }
    };
    let options = LiveOptions {
        mode: LiveMode::Histogram,
        min_latency_ns: 0,
        outcomes: Outcomes::default(),
        direction: None,
        filters_methods: false,
    };
    let Some(mut tracer) = begin(&shares, options, verbose, &mut errors) else {
        return Ok(errors.exit());
    };
    let mut names = Names::read(&shares);
    stop.start();
    let started = Instant::now();
    log::info!("counting latencies");
    wait(&stop, &mut tracer, &names, shares.len())?;
    tracer.detach();
    let duration_us = micros(started.elapsed());
    // As far as they can still be read: a process that has ended keeps the names that it had.
    names.read_again();
    let direction = args.filter.direction.map(Into::into);
    let filter = MethodFilter::new(&args.filter.methods);
    let buckets = tracer.histograms()?;
    let processes = shares.iter().map(|share| ProcessHistograms {
        process: share.target.label(),
        methods: histograms(&buckets, share.target.pid(), direction, &filter, &mut names),
    });
    let report = HistogramReport {
        schema_version: SCHEMA_VERSION,
        taken_at: Timestamp::now(),
        duration_us,
        gaps: gaps(&tracer)?,
        processes: processes.collect(),
    };
    privilege::drop_all()?;
    retire_worker();
    if args.json.json {
        match args.json.is_pretty() {
            true => serde_json::to_writer_pretty(&mut *out, &report)?,
            false => serde_json::to_writer(&mut *out, &report)?,
        }
        writeln!(out)?;
    } else {
        write(&report, out)?;
    }
    Ok(errors.exit())
}

/// Waits until the end has come, or no process is left.
fn wait(stop: &Stop, tracer: &mut Tracer, names: &Names<'_>, targets: usize) -> Result<()> {
    let mut reported = HashSet::new();
    while !stop.is_due() && reported.len() < targets {
        sleep(STEP);
        log_ebpf(tracer);
        for (tgid, end) in tracer.ended_targets()? {
            if reported.insert(tgid)
                && let Some(process) = names.process(tgid)
            {
                report_end(process, end);
            }
        }
    }
    Ok(())
}

/// What was not counted.
fn gaps(tracer: &Tracer) -> Result<Vec<Gap>> {
    let counts = tracer.live_counts()?;
    let lost = counts.lost.iter().sum();
    let mut gaps = Vec::new();
    if lost > 0 {
        let calls = Counted(lost, "calls");
        gaps.push(format!("{calls} not counted (kernel map full)"));
    }
    if counts.unknown > 0 {
        let requests = Counted(counts.unknown, "requests");
        gaps.push(format!("{requests} not counted: their start was not seen"));
    }
    Ok(gaps.into_iter().map(|text| Gap::Other { text }).collect())
}

fn write(report: &HistogramReport, out: &mut impl Write) -> std::io::Result<()> {
    let duration = Took(report.duration_us);
    writeln!(out, "latencies of answered calls over {duration}")?;
    for gap in &report.gaps {
        writeln!(out, "incomplete: {gap}")?;
    }
    for ProcessHistograms { process, methods } in &report.processes {
        if methods.is_empty() {
            writeln!(out, "\n{process}: no call was answered")?;
        }
        for method in methods {
            writeln!(out)?;
            write_method(process, method, out)?;
        }
    }
    Ok(())
}

fn write_method(
    process: &Process,
    method: &MethodHistogram,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let way = match method.direction {
        Direction::Outgoing => "→",
        Direction::Incoming => "←",
    };
    let name = match &method.method {
        Some(name) => name.to_string(),
        None => unnamed(method.method_id),
    };
    let latency = &method.latency;
    writeln!(
        out,
        "{process} {way} {name}: {}, p50 {}, p99 {}, max {}",
        Counted(method.calls, "calls"),
        Took(latency.p50_us),
        Took(latency.p99_us),
        Took(latency.max_us)
    )?;
    writeln!(out, "{:>20} : {:<9} distribution", "latency", "calls")?;
    let rows = by_octave(method);
    let most = rows.iter().map(|&(_, calls)| calls).max().unwrap_or(0);
    for (octave, calls) in rows {
        let stars = (u128::from(calls) * BAR as u128).div_ceil(u128::from(most.max(1)));
        let bar = "*".repeat(stars as usize);
        writeln!(out, "{:>20} : {calls:<9} |{bar:<BAR$}|", range(octave))?;
    }
    Ok(())
}

/// The calls by octaves of latency, from the first that has one to the last: the buckets are too many to be read.
fn by_octave(method: &MethodHistogram) -> Vec<(usize, u64)> {
    let octave = |bucket: usize| bucket.div_ceil(PER_OCTAVE);
    let mut rows: Vec<(usize, u64)> = Vec::new();
    for bucket in &method.buckets {
        let of_bucket = octave(bucket.index);
        let next = rows.last().map_or(of_bucket, |&(last, _)| last + 1);
        rows.extend((next..=of_bucket).map(|octave| (octave, 0)));
        if let Some((_, calls)) = rows.last_mut() {
            *calls += bucket.calls;
        }
    }
    rows
}

/// The latencies of an octave.
fn range(octave: usize) -> String {
    let bound = |octave: usize| {
        let units = upper_bound(octave * PER_OCTAVE);
        Took(ns_of_units(units).div_ceil(1_000)).to_string()
    };
    match octave.checked_sub(1) {
        None => format!("up to {}", bound(octave)),
        Some(below) if octave * PER_OCTAVE >= BUCKETS - 1 => format!("above {}", bound(below)),
        Some(below) => format!("{} to {}", bound(below), bound(octave)),
    }
}

#[cfg(test)]
mod tests {
    use roam_dump::decode::latency_of_buckets;

    use super::*;
    use crate::live::Bucket;

    fn method(name: Option<&str>, direction: Direction, calls: &[(usize, u64)]) -> MethodHistogram {
        let mut buckets = [0; BUCKETS];
        for &(bucket, calls) in calls {
            buckets[bucket] = calls;
        }
        MethodHistogram {
            method_id: 0xbad,
            method: name.map(Into::into),
            direction,
            calls: buckets.iter().sum(),
            latency: latency_of_buckets(&buckets).unwrap(),
            buckets: calls
                .iter()
                .map(|&(index, calls)| Bucket {
                    index,
                    upper_ns: Some(ns_of_units(upper_bound(index))),
                    calls,
                })
                .collect(),
        }
    }

    #[test]
    fn reports() {
        let process = |pid, methods| ProcessHistograms {
            process: Process::new(pid, "demo-host"),
            methods,
        };
        let report = HistogramReport {
            schema_version: SCHEMA_VERSION,
            taken_at: Timestamp::UNIX_EPOCH,
            duration_us: 10_000_300,
            gaps: vec![Gap::Other {
                text: "3 calls not counted (kernel map full)".to_owned(),
            }],
            processes: vec![
                process(
                    4242,
                    vec![
                        method(
                            Some("Http.get"),
                            Direction::Outgoing,
                            &[(130, 7), (140, 90_000), (145, 12_345), (200, 1)],
                        ),
                        method(None, Direction::Incoming, &[(0, 1), (BUCKETS - 1, 2)]),
                    ],
                ),
                process(4243, Vec::new()),
            ],
        };
        let mut out = Vec::new();
        write(&report, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
