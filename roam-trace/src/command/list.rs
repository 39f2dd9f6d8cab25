//! `roam-trace list`: the processes that can be read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Write;

use anyhow::{Context, Result};
use roam_dump::read::Budget;
use roam_trace_common::event::{ConnectionState, Direction};
use tabwriter::TabWriter;

use super::errors::Errors;
use super::report::{report, report_denied};
use super::select;
use crate::error::{Exit, TargetError};
use crate::process::maps::FileId;
use crate::process::proc::{self, Process};
use crate::process::{Reading, Target};

/// Lists every process that has a registry or probes, by pid.
///
/// # Errors
///
/// `/proc` cannot be listed, or the output cannot be written.
pub(super) fn run(out: &mut impl Write) -> Result<Exit> {
    let pids = proc::pids().context("cannot list the processes in /proc")?;
    let mut known = HashMap::new();
    let mut rows = Vec::new();
    let mut denied = Vec::new();
    let mut errors = Errors::default();
    for process in select::open(pids, &mut errors) {
        match row(process, &mut known, &mut errors) {
            Ok(row) => rows.extend(row),
            Err(TargetError::NoPermission { missing, .. }) => denied.push(missing),
            Err(error) => errors.report_found(&error),
        }
    }
    rows.sort_by_key(|row| row.pid);
    if rows.is_empty() {
        report(&"no process has a registry or probes");
    } else {
        write(&rows, out)?;
    }
    report_denied(&denied);
    Ok(errors.exit())
}

/// What is known of one process.
struct Row {
    pid: u32,
    name: String,
    has_registry: bool,
    has_probes: bool,
    /// Unknown without a registry.
    counts: Option<Counts>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    connections: usize,
    outgoing: usize,
    incoming: usize,
    channels: usize,
    /// Whether there are more than were read.
    are_least: bool,
}

/// Returns the row of a process, `None` where it is not roam's. `known` has files that were checked for probes.
fn row(
    process: Process,
    known: &mut HashMap<FileId, bool>,
    errors: &mut Errors,
) -> Result<Option<Row>, TargetError> {
    let target = Target::of(process)?;
    let reading = target.read(Budget::default())?;
    let has_registry = !reading.images.is_empty();
    let has_probes = match has_probes(&target, known) {
        Err(error) if has_registry => {
            errors.report_found(&error);
            false
        }
        has_probes => has_probes?,
    };
    // A forked child has the probes of the program, but never fires them.
    let is_child = !has_registry && !reading.inherited.is_empty();
    if is_child || !(has_registry || has_probes) {
        return Ok(None);
    }
    Ok(Some(Row {
        pid: target.pid(),
        name: target.process.name().to_owned(),
        has_registry,
        has_probes,
        counts: has_registry.then(|| count(&reading)),
    }))
}

fn has_probes(target: &Target, known: &mut HashMap<FileId, bool>) -> Result<bool, TargetError> {
    let mut has_probes = false;
    for binary in target.binaries()? {
        has_probes |= match known.entry(binary.file) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                let sites = binary.probe_sites(&target.process)?;
                *unknown.insert(sites.is_ok_and(|sites| !sites.is_empty()))
            }
        };
    }
    Ok(has_probes)
}

fn count(reading: &Reading) -> Counts {
    let mut counts = Counts::default();
    for image in &reading.images {
        counts.connections += image
            .connections
            .values()
            .filter(|row| row.state == ConnectionState::Open.code())
            .count();
        for row in &image.requests {
            match Direction::from_code(row.direction) {
                Some(Direction::Outgoing) => counts.outgoing += 1,
                Some(Direction::Incoming) => counts.incoming += 1,
                None => {}
            }
        }
        counts.channels += image.channels.len();
        counts.are_least |= !image.truncated.is_nothing();
    }
    counts
}

fn write(rows: &[Row], out: &mut impl Write) -> std::io::Result<()> {
    let mut table = TabWriter::new(out).padding(2);
    writeln!(
        table,
        "PID\tNAME\tSOURCES\tCONNECTIONS\tOUTGOING\tINCOMING\tCHANNELS"
    )?;
    for row in rows {
        let sources = match (row.has_registry, row.has_probes) {
            (true, true) => "registry, probes",
            (true, false) => "registry",
            (false, _) => "probes",
        };
        write!(table, "{}\t{}\t{sources}", row.pid, row.name)?;
        match &row.counts {
            Some(counts) => {
                let plus = if counts.are_least { "+" } else { "" };
                for count in [
                    counts.connections,
                    counts.outgoing,
                    counts.incoming,
                    counts.channels,
                ] {
                    write!(table, "\t{count}{plus}")?;
                }
                writeln!(table)?;
            }
            None => writeln!(table, "\t-\t-\t-\t-")?,
        }
    }
    table.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[Row], expected: &str) {
        let mut out = Vec::new();
        write(rows, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn tables() {
        let host = Row {
            pid: 4242,
            name: "demo-host".to_owned(),
            has_registry: true,
            has_probes: true,
            counts: Some(Counts {
                are_least: false,
                connections: 2,
                outgoing: 100_000,
                incoming: 0,
                channels: 3,
            }),
        };
        let stripped = Row {
            pid: 7,
            name: "日本 host".to_owned(),
            has_registry: true,
            has_probes: false,
            counts: Some(Counts::default()),
        };
        let silent = Row {
            pid: 17,
            name: "cell".to_owned(),
            has_registry: false,
            has_probes: true,
            counts: None,
        };
        check(
            &[stripped, silent, host],
            "\
PID   NAME       SOURCES           CONNECTIONS  OUTGOING  INCOMING  CHANNELS
7     日本 host  registry          0            0         0         0
17    cell       probes            -            -         -         -
4242  demo-host  registry, probes  2            100000    0         3
",
        );
    }
}
