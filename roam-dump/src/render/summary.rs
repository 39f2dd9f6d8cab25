//! What a dump comes to: the first lines of its text.

use std::io;

use foldhash::HashSet;
use jiff::{SignedDuration, Timestamp};
use roam_trace_common::event::Direction;

use super::cell::level;
use super::graph::{cycle_heading, root_groups};
use super::layout::{Indent, Level, Options, paragraph, sources};
use super::node::{RootLine, waiters};
use super::order::callee;
use crate::count::{Count, Counted};
use crate::duration::Age;
use crate::model::{Dump, Request, Severity, Snapshot};

const LINE: Indent<'_> = Indent {
    first: "",
    next: "  ",
};

/// Writes how many requests are stuck and since when, the root blocker, and whether the picture is complete: a single
/// line if nothing is wrong.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn render(out: &mut impl io::Write, dump: &Dump, options: &Options) -> io::Result<()> {
    let stuck = stuck(dump);
    let counts = in_flight(dump);
    let in_flight = match requests(dump).map(|row| row.age_us).max() {
        Some(oldest_us) => format!("{counts}, the oldest {}", Age(oldest_us)),
        None => counts.clone(),
    };
    let completeness = completeness(dump);
    if stuck.is_empty() && is_healthy(dump) {
        let text = format!("healthy: nothing is stuck; {in_flight} · {completeness}");
        return paragraph(out, options, LINE, Level::Plain, &text);
    }
    let (text, of_stuck) = match stuck.iter().map(|row| row.age_us).max() {
        Some(oldest_us) => {
            let text = format!(
                "{} stuck, the oldest for {} (since {}); {counts}",
                Counted(stuck.len() as u64, "requests"),
                Age(oldest_us),
                since(dump.taken_at, oldest_us, options)
            );
            (text, Level::Stuck)
        }
        // Without verdicts it is not known what is stuck, nor of rows that are hidden.
        None if dump.graph.is_none()
            || younger_hidden(dump) > 0
            || dump.processes.iter().any(Snapshot::is_probes_only) =>
        {
            (in_flight, Level::Plain)
        }
        None => (format!("no request is stuck; {in_flight}"), Level::Plain),
    };
    paragraph(out, options, LINE, of_stuck, &text)?;
    if let Some(text) = root_blocker(dump) {
        paragraph(out, options, LINE, Level::Stuck, &text)?;
    } else if dump.graph.is_some() && !stuck.is_empty() {
        paragraph(out, options, LINE, Level::Stuck, "root blocker: not found")?;
    }
    for text in critical(dump) {
        paragraph(out, options, LINE, Level::Stuck, &text)?;
    }
    let is_complete = dump
        .processes
        .iter()
        .all(|snapshot| snapshot.gaps.is_empty());
    let of_gaps = if is_complete {
        Level::Plain
    } else {
        Level::Slow
    };
    paragraph(out, options, LINE, of_gaps, &completeness)
}

/// The stuck requests, each once: not the callee's row of one whose caller's row is stuck as well.
fn stuck(dump: &Dump) -> Vec<&Request> {
    let rows = || {
        dump.processes.iter().flat_map(|snapshot| {
            let rows = snapshot.requests.iter();
            let stuck = rows.filter(|row| level(row.verdict.as_deref()) == Level::Stuck);
            stuck.map(move |row| (snapshot.process.pid, row))
        })
    };
    let callees: HashSet<_> = rows().filter_map(|(_, row)| callee(row)).collect();
    rows()
        .filter(|(pid, row)| {
            row.direction == Direction::Outgoing || !callees.contains(&(*pid, row.serial))
        })
        .map(|(_, row)| row)
        .collect()
}

fn is_healthy(dump: &Dump) -> bool {
    let is_healthy = |snapshot: &Snapshot| {
        let connections = snapshot.connections.iter().map(|row| &row.verdict);
        let channels = snapshot.channels.iter().map(|row| &row.verdict);
        snapshot.gaps.is_empty()
            && snapshot.findings.is_empty()
            && connections
                .chain(channels)
                .all(|verdict| level(verdict.as_deref()) < Level::Stuck)
    };
    let graph = dump.graph.as_ref();
    graph.is_some_and(|graph| graph.roots.is_empty()) && dump.processes.iter().all(is_healthy)
}

fn in_flight(dump: &Dump) -> String {
    let count = |direction| {
        let of_direction = requests(dump).filter(|row| row.direction == direction);
        of_direction.count() as u64
    };
    match [Direction::Outgoing, Direction::Incoming].map(count) {
        [0, 0] if younger_hidden(dump) > 0 => "no request shown".to_owned(),
        [0, 0] if dump.processes.iter().any(Snapshot::has_unknown_requests) => {
            "requests unknown".to_owned()
        }
        [0, 0] if dump.processes.iter().any(Snapshot::is_probes_only) => {
            "no request started while the probes were attached is in flight".to_owned()
        }
        [0, 0] => "no request in flight".to_owned(),
        [outgoing, incoming] => format!(
            "{} outgoing, {} incoming in flight",
            Count(outgoing),
            Count(incoming)
        ),
    }
}

fn younger_hidden(dump: &Dump) -> u64 {
    let hidden = dump
        .processes
        .iter()
        .map(|snapshot| snapshot.younger_hidden);
    hidden.fold(0, u64::saturating_add)
}

fn requests(dump: &Dump) -> impl Iterator<Item = &Request> {
    let processes = dump.processes.iter();
    processes.flat_map(|snapshot| &snapshot.requests)
}

fn root_blocker(dump: &Dump) -> Option<String> {
    let graph = dump.graph.as_ref()?;
    let groups = root_groups(graph, false);
    let roots = groups.first()?;
    let further = match groups.len() {
        1 => String::new(),
        groups => format!(" (first of {})", Count(groups as u64)),
    };
    let text = match cycle_heading(graph, roots[0]) {
        Some(heading) => match waiters(roots) {
            Some(waiters) => format!("{heading} ({waiters})"),
            None => heading,
        },
        None => {
            let nodes = roots.iter().flat_map(|root| &root.nodes);
            let nodes: Vec<_> = nodes.map(|&node| &graph.nodes[node as usize]).collect();
            RootLine {
                roots,
                nodes: &nodes,
            }
            .to_string()
        }
    };
    Some(format!("root blocker{further}: {text}"))
}

/// What holds up a whole process.
fn critical(dump: &Dump) -> impl Iterator<Item = String> {
    dump.processes.iter().flat_map(|snapshot| {
        let findings = snapshot.findings.iter();
        findings
            .filter(|finding| finding.severity == Severity::Critical)
            .map(|finding| format!("critical: {}: {}", snapshot.process, finding.text))
    })
}

/// Whether something is missing; in a dump of several processes, each says itself what.
fn completeness(dump: &Dump) -> String {
    let processes = match dump.processes.as_slice() {
        [snapshot] => return sources(snapshot),
        processes => processes,
    };
    let incomplete = processes
        .iter()
        .filter(|snapshot| !snapshot.gaps.is_empty());
    let hidden = younger_hidden(dump);
    let mut text = match incomplete.count() {
        0 => "complete".to_owned(),
        count => format!("incomplete: {count} of {} processes", processes.len()),
    };
    if hidden > 0 {
        let hidden = Counted(hidden, "younger rows");
        text.push_str(&format!(" · {hidden} hidden (--min-age)"));
    }
    text
}

/// The time of the day at which something began, with the date if that was another day.
fn since(taken_at: Timestamp, age_us: u64, options: &Options) -> String {
    let zoned = |at: Timestamp| at.to_zoned(options.time_zone.clone());
    let age = SignedDuration::from_micros(i64::try_from(age_us).unwrap_or(i64::MAX));
    let (began, taken_at) = (
        zoned(taken_at.checked_sub(age).unwrap_or(taken_at)),
        zoned(taken_at),
    );
    let format = match began.date() == taken_at.date() {
        true => "%H:%M:%S",
        false => "%Y-%m-%d %H:%M:%S",
    };
    began.strftime(format).to_string()
}
