//! What a dump comes to: the first lines of its text.

use std::io;

use foldhash::HashSet;
use jiff::{SignedDuration, Timestamp};
use roam_trace_common::event::Direction;

use super::cell::level;
use super::graph::{RootGroup, cycle_heading};
use super::layout::{Indent, Level, Options, paragraph, sources};
use super::node::{RootLine, waiters};
use super::order::callee;
use crate::count::{Count, Counted};
use crate::duration::Age;
use crate::model::{Dump, Severity, Snapshot};

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
pub(super) fn render(
    out: &mut impl io::Write,
    dump: &Dump,
    roots: &[RootGroup<'_>],
    options: &Options,
) -> io::Result<()> {
    let (stuck, oldest_stuck_us) = stuck(dump);
    let (counts, oldest_us) = in_flight(dump);
    let in_flight = match oldest_us {
        Some(oldest_us) => format!("{counts}, the oldest {}", Age(oldest_us)),
        None => counts.clone(),
    };
    let completeness = completeness(dump);
    if stuck == 0 && is_healthy(dump) {
        let text = format!("healthy: nothing is stuck; {in_flight} · {completeness}");
        return paragraph(out, options, LINE, Level::Plain, &text);
    }
    let (text, of_stuck) = match oldest_stuck_us {
        Some(oldest_us) => {
            let text = format!(
                "{} stuck, the oldest for {} (since {}); {counts}",
                Counted(stuck, "requests"),
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
    if let Some(text) = root_blocker(dump, roots) {
        paragraph(out, options, LINE, Level::Stuck, &text)?;
    } else if dump.graph.is_some() && stuck > 0 {
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

/// How many requests are stuck, each once: not the callee's row of one whose caller's row is stuck as well. And the age of
/// the oldest, in microseconds.
fn stuck(dump: &Dump) -> (u64, Option<u64>) {
    let rows = || {
        dump.processes.iter().flat_map(|snapshot| {
            let rows = snapshot.requests.iter();
            let stuck = rows.filter(|row| level(row.verdict.as_deref()) == Level::Stuck);
            stuck.map(move |row| (snapshot.process.pid, row))
        })
    };
    let callees: HashSet<_> = rows().filter_map(|(_, row)| callee(row)).collect();
    let once = rows().filter(|(pid, row)| {
        row.direction == Direction::Outgoing || !callees.contains(&(*pid, row.serial))
    });
    once.fold((0, None), |(count, oldest_us), (_, row)| {
        (count + 1, oldest_us.max(Some(row.age_us)))
    })
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
    graph.is_some_and(|graph| graph.roots.is_empty())
        && dump.processes.iter().all(is_healthy)
        && dump.hubs.iter().all(|hub| hub.findings.is_empty())
}

/// How many requests are in flight, in words, and the age of the oldest in microseconds.
fn in_flight(dump: &Dump) -> (String, Option<u64>) {
    let (mut outgoing, mut incoming, mut oldest_us) = (0, 0, None);
    for row in dump
        .processes
        .iter()
        .flat_map(|snapshot| &snapshot.requests)
    {
        match row.direction {
            Direction::Outgoing => outgoing += 1,
            Direction::Incoming => incoming += 1,
        }
        oldest_us = oldest_us.max(Some(row.age_us));
    }
    let text = match (outgoing, incoming) {
        (0, 0) if younger_hidden(dump) > 0 => "no request shown".to_owned(),
        (0, 0) if dump.processes.iter().any(Snapshot::has_unknown_requests) => {
            "requests unknown".to_owned()
        }
        (0, 0) if dump.processes.iter().any(Snapshot::is_probes_only) => {
            "no request started while the probes were attached is in flight".to_owned()
        }
        (0, 0) => "no request in flight".to_owned(),
        _ => format!(
            "{} outgoing, {} incoming in flight",
            Count(outgoing),
            Count(incoming)
        ),
    };
    (text, oldest_us)
}

fn younger_hidden(dump: &Dump) -> u64 {
    let hidden = dump
        .processes
        .iter()
        .map(|snapshot| snapshot.younger_hidden);
    hidden.fold(0, u64::saturating_add)
}

fn root_blocker(dump: &Dump, groups: &[RootGroup<'_>]) -> Option<String> {
    let graph = dump.graph.as_ref()?;
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

/// What holds up a whole process or a hub.
fn critical(dump: &Dump) -> impl Iterator<Item = String> {
    let of_processes = dump.processes.iter().flat_map(|snapshot| {
        let findings = snapshot.findings.iter();
        findings
            .filter(|finding| finding.severity == Severity::Critical)
            .map(|finding| format!("critical: {}: {}", snapshot.process, finding.text))
    });
    let of_hubs = dump.hubs.iter().flat_map(|hub| {
        let findings = hub.findings.iter();
        findings
            .filter(|finding| finding.severity == Severity::Critical)
            .map(|finding| format!("critical: hub {}: {}", hub.path, finding.text))
    });
    of_processes.chain(of_hubs)
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
