//! `roam-trace list`: the processes that can be read, those with stuck requests first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{IsTerminal, Write, stdout};

use anyhow::{Context, Result};
use roam_dump::analysis::{Facts, Thresholds};
use roam_dump::decode::printable;
use roam_dump::model::{Code, Gap, Request, Snapshot};
use roam_dump::read::Budget;
use roam_dump::render::table::{Column, Level, Line, table};
use roam_dump::render::text::Options;
use roam_dump::render::{Age, Count};
use roam_trace_common::event::{ConnectionState, Direction};

use super::by_pins::by_pins;
use super::by_registry::by_registry;
use super::errors::Errors;
use super::pins::{PinnedRows, Pins};
use super::report::report;
use super::select;
use crate::cli::Source;
use crate::error::{Exit, TargetError};
use crate::pager::text_width;
use crate::privilege;
use crate::process::mapping::FileId;
use crate::process::proc::{self, Process};
use crate::process::{Share, Target, retire_worker};

/// Characters of a command that are shown.
const COMMAND: usize = 64;

/// Lists every process that has a registry or probes.
///
/// # Errors
///
/// `/proc` cannot be listed, or the output cannot be written.
pub(super) fn run(color: bool, out: &mut impl Write) -> Result<Exit> {
    let pids = proc::pids().context("cannot list the processes in /proc")?;
    let mut known = HashMap::new();
    let mut found = Vec::new();
    let mut errors = Errors::default();
    for process in select::open(pids, &mut errors) {
        match find(process, &mut known, &mut errors) {
            Ok(target) => found.extend(target),
            Err(error) => errors.report_found(error),
        }
    }
    if found.is_empty() {
        report(&"no process has a registry or probes");
    } else {
        let pins = Pins::open();
        let pinned = match pins.rows(found.iter().map(|(target, _)| target)) {
            Ok(pinned) => pinned,
            Err(error) => {
                report(&error);
                None
            }
        };
        if let Some(gap) = pins.gap() {
            report(&gap);
        }
        let rows = rows(&found, pinned.as_ref(), &mut errors);
        // A reader of the table that is slow must not keep the privileges.
        privilege::drop_all()?;
        retire_worker();
        let options = Options {
            color,
            width: match stdout().is_terminal() {
                true => text_width(),
                // Programs that read it expect a line for each process.
                false => usize::from(u16::MAX),
            },
            ..Options::plain()
        };
        write(&rows, &options, out)?;
    }
    errors.report_denied();
    Ok(errors.exit())
}

/// Returns a process that has a registry or probes, and which. `known` has files that were checked for probes.
fn find(
    process: Process,
    known: &mut HashMap<FileId, bool>,
    errors: &mut Errors,
) -> Result<Option<(Target, How)>, TargetError> {
    let target = Target::of(process)?;
    let has_registry = target.has_registry()?;
    let has_probes = match has_probes(&target, known) {
        Err(error) if has_registry => {
            errors.report_found(error);
            None
        }
        has_probes => Some(has_probes?),
    };
    let how = match (has_registry, has_probes) {
        (true, Some(true)) => How::Both,
        (true, Some(false)) => How::Registry,
        (true, None) => How::ProbesUnknown,
        // A forked child has the probes of the program, but never fires them.
        (false, Some(true)) if target.read(Budget::default())?.inherited.is_empty() => How::Probes,
        (false, _) => return Ok(None),
    };
    Ok(Some((target, how)))
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

/// How a process can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Both,
    Registry,
    ProbesUnknown,
    Probes,
    ProbesOnly,
}

impl How {
    fn words(self, is_armed: bool) -> &'static str {
        match self {
            Self::Both | Self::ProbesUnknown if is_armed => "registry; its probes are armed",
            Self::Both => "registry; probes with -d",
            Self::Registry => "registry; it has no probes for -d",
            Self::ProbesUnknown => "registry; its probes could not be read",
            Self::Probes if is_armed => "its probes are armed; it has no registry yet",
            Self::Probes => "probes with -d; it has no registry yet",
            Self::ProbesOnly => "requests with -d or armed (ROAM_DIAGNOSTIC=probes)",
        }
    }
}

/// What is known of one process.
#[derive(Debug)]
struct Row {
    pid: u32,
    name: String,
    how: How,
    is_armed: bool,
    /// Unknown without a registry, unless its probes are armed.
    counts: Option<Counts>,
    parent: String,
    command: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    stuck: usize,
    /// Microseconds that the oldest stuck request has waited; if none is stuck, the oldest of all.
    oldest_us: Option<u64>,
    outgoing: usize,
    incoming: usize,
    channels: usize,
    connections: usize,
    /// Whether there are more than were read.
    are_least: bool,
}

/// Reads the processes, and sorts them by trouble: first those with stuck requests, the longest wait first.
fn rows(found: &[(Target, How)], pinned: Option<&PinnedRows>, errors: &mut Errors) -> Vec<Row> {
    let armed = |pid| pinned.filter(|pinned| pinned.processes.contains_key(&pid));
    let shares = Share::divide(Budget::default(), found.iter().map(|(target, _)| target));
    let mut snapshots = Vec::new();
    for (share, (target, how)) in shares.iter().zip(found) {
        let pinned = armed(target.pid());
        if *how == How::Probes && pinned.is_none() {
            continue;
        }
        match read(share, pinned) {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(error) => errors.report_found(error),
        }
    }
    roam_dump::explain(&mut snapshots, &Facts::default(), &Thresholds::default());
    let mut rows: Vec<_> = found
        .iter()
        .map(|(target, how)| {
            let mut snapshots = snapshots.iter();
            let own = snapshots.find(|snapshot| snapshot.process.pid == target.pid());
            let how = match own.is_some_and(Snapshot::has_unknown_requests) {
                true => How::ProbesOnly,
                false => *how,
            };
            Row {
                pid: target.pid(),
                name: target.process.name().to_owned(),
                how,
                is_armed: armed(target.pid()).is_some(),
                counts: own.map(count),
                parent: parent(&target.process),
                command: command(&target.process.read_file("cmdline").unwrap_or_default()),
            }
        })
        .collect();
    rows.sort_by_key(Row::trouble);
    rows
}

/// Reads a process by its registry, and by the pinned maps what is not in there.
fn read(share: &Share<'_>, pinned: Option<&PinnedRows>) -> Result<Snapshot, TargetError> {
    let reading = share.target.read(share.budget)?;
    let Some((rows, covered)) =
        pinned.and_then(|rows| Some((rows, rows.processes.get(&share.target.pid())?)))
    else {
        return by_registry(share.target, reading);
    };
    let mut snapped = by_pins(share, Source::Auto, reading, rows, covered)?;
    // What differs may just have begun or ended.
    if let Some(comparison) = snapped.unsettled() {
        comparison.forget_differences();
    }
    Ok(snapped.finish(&rows.maps))
}

impl Row {
    fn trouble(&self) -> impl Ord + use<> {
        let counts = self.counts.as_ref();
        let stuck = counts.filter(|counts| counts.stuck > 0);
        (Reverse(stuck.map(|counts| counts.oldest_us)), self.pid)
    }
}

fn count(snapshot: &Snapshot) -> Counts {
    let is_stuck = |request: &&Request| {
        let verdict = request.verdict.as_ref();
        verdict.is_some_and(|verdict| verdict.code != Code::Usual)
    };
    let oldest =
        |requests: &mut dyn Iterator<Item = &Request>| requests.map(|request| request.age_us).max();
    let of = |direction| {
        let requests = snapshot.requests.iter();
        requests
            .filter(|request| request.direction == direction)
            .count()
    };
    let requests = || snapshot.requests.iter();
    Counts {
        stuck: requests().filter(is_stuck).count(),
        oldest_us: oldest(&mut requests().filter(is_stuck)).or(oldest(&mut requests())),
        outgoing: of(Direction::Outgoing),
        incoming: of(Direction::Incoming),
        channels: snapshot.channels.len(),
        connections: (snapshot.connections.iter())
            .filter(|connection| connection.state == ConnectionState::Open)
            .count(),
        are_least: (snapshot.gaps.iter()).any(|gap| matches!(gap, Gap::Truncated { .. })),
    }
}

fn parent(process: &Process) -> String {
    let name = |pid| match Process::open(pid) {
        Ok(parent) => format!("{}[{pid}]", parent.name()),
        Err(_) => pid.to_string(),
    };
    process.parent().map_or_else(|| "-".to_owned(), name)
}

/// The arguments of a process, as `/proc` has them, in one line.
fn command(arguments: &[u8]) -> String {
    let arguments: Vec<_> = arguments.split(|&byte| byte == 0).map(printable).collect();
    let line = arguments.join(" ");
    match line.trim_end().char_indices().nth(COMMAND) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.trim_end().to_owned(),
    }
}

const COLUMNS: [Column; 11] = [
    Column::right("PID"),
    Column::names("NAME"),
    Column::right("STUCK"),
    Column::right("OLDEST WAIT"),
    Column::right("OUTGOING"),
    Column::right("INCOMING"),
    Column::right("CHANNELS"),
    Column::right("CONNECTIONS"),
    Column::names("PARENT"),
    Column::left("HOW"),
    Column::left("COMMAND"),
];

fn write(rows: &[Row], options: &Options, out: &mut impl Write) -> std::io::Result<()> {
    table(out, options, &COLUMNS, rows, "(none)", |row, line| {
        if row.counts.as_ref().is_some_and(|counts| counts.stuck > 0) {
            line.level = Level::Stuck;
        }
        line.cell(row.pid);
        line.cell(&row.name);
        row.counts(line);
        line.cell(&row.parent);
        line.cell(row.how.words(row.is_armed));
        line.cell(&row.command);
    })
}

impl Row {
    /// Fills the six columns of numbers.
    fn counts(&self, line: &mut Line) {
        let Some(counts) = &self.counts else {
            return (0..6).for_each(|_| line.cell("-"));
        };
        let plus = if counts.are_least { "+" } else { "" };
        let count = |count: usize| format!("{}{plus}", Count(count as u64));
        let has_requests = self.how != How::ProbesOnly;
        let of_requests = |text: String| if has_requests { text } else { "-".to_owned() };
        line.cell(of_requests(match counts.stuck {
            0 => "no".to_owned(),
            stuck => count(stuck),
        }));
        match counts.oldest_us {
            Some(oldest_us) => line.cell(Age(oldest_us)),
            None => line.cell("-"),
        }
        line.cell(of_requests(count(counts.outgoing)));
        line.cell(of_requests(count(counts.incoming)));
        line.cell(count(counts.channels));
        line.cell(count(counts.connections));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pid: u32, name: &str, how: How, counts: Option<Counts>) -> Row {
        Row {
            pid,
            name: name.to_owned(),
            how,
            is_armed: name == "busy",
            counts,
            parent: "init[1]".to_owned(),
            command: format!("/usr/bin/{name}"),
        }
    }

    #[test]
    fn tables() {
        let host = Counts {
            stuck: 2,
            oldest_us: Some(11_700_000),
            outgoing: 100_000,
            incoming: 0,
            channels: 3,
            connections: 2,
            are_least: true,
        };
        let cell = Counts {
            stuck: 1,
            oldest_us: Some(700_000_000),
            incoming: 1,
            ..Counts::default()
        };
        let busy = Counts {
            oldest_us: Some(900_000_000),
            ..Counts::default()
        };
        let mut rows = [
            row(7, "日本 host", How::Registry, Some(Counts::default())),
            row(17, "new", How::Probes, None),
            row(19, "light", How::ProbesOnly, Some(Counts::default())),
            row(18, "busy", How::Both, Some(busy)),
            row(4242, "demo-host", How::Both, Some(host)),
            row(4243, "demo-cell", How::Both, Some(cell)),
        ];
        rows.sort_by_key(Row::trouble);
        for width in [80, 120, 200] {
            let options = Options {
                width,
                ..Options::plain()
            };
            let mut out = Vec::new();
            write(&rows, &options, &mut out).unwrap();
            insta::assert_snapshot!(
                format!("tables_at_{width}"),
                String::from_utf8(out).unwrap()
            );
        }
    }

    #[test]
    fn commands() {
        assert_eq!(command(b"demo\0--hang\0a b\n\0"), "demo --hang a b\\n");
        assert_eq!(command(b""), "");
        let cut = command(&[b'x'; 100]);
        assert_eq!(cut, format!("{}…", "x".repeat(COMMAND)));
    }
}
