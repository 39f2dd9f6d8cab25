//! Requests in flight, and those that a remote process has to answer.

use std::fmt;
use std::io;
use std::sync::Arc;

use roam_trace_common::event::{Direction, Mark, Phase};

use super::cell::{Bytes, Only, connection_name, level, only_source};
use super::fold::{Fold, Placed, Shapes, fold};
use super::layout::{Options, section};
use super::table::{Column, table};
use crate::model::{Request, Verdict};

const REQUESTS: [Column; 10] = [
    Column::left("PROCESS"),
    Column::left("REQUEST"),
    Column::left("METHOD"),
    Column::right("COUNT"),
    Column::right("AGE"),
    Column::left("PHASE"),
    Column::left("CONNECTION"),
    Column::right("PAYLOAD"),
    Column::right("RESPONSE"),
    Column::left("SOURCE"),
];

const PENDING: [Column; 5] = [
    Column::left("PROCESS"),
    Column::left("REQUEST"),
    Column::right("COUNT"),
    Column::right("WAITING"),
    Column::left("CONNECTION"),
];

/// Writes a section of requests, in the order in which they are given.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn requests(
    out: &mut impl io::Write,
    options: &Options,
    title: &str,
    rows: &[Placed<'_, Request>],
    names_process: bool,
    none: &str,
) -> io::Result<()> {
    section(out, options, title)?;
    let mut shapes = Shapes::default();
    let folds = fold(rows, options.fold_from(2), |snapshot, row| {
        (
            (snapshot.process.pid, row.direction, row.connection),
            (row.kind, row.method_id, row.phase, row.writes_observable),
            (row.mark, only_source(row.source, row.age_us, snapshot)),
            shapes.verdict(row.verdict.as_deref()),
        )
    });
    let mut above: Option<&Verdict> = None;
    let lines: Vec<_> = folds
        .into_iter()
        .map(|fold| {
            let verdict = fold.first().verdict.as_deref();
            let before = std::mem::replace(&mut above, verdict);
            let is_above = matches!((before, verdict), (Some(before), Some(verdict)) if Arc::ptr_eq(&before.text, &verdict.text));
            (fold, is_above)
        })
        .collect();
    table(
        out,
        options,
        &REQUESTS,
        &lines,
        none,
        |(fold, is_above), line| {
            let row = fold.first();
            match names_process {
                true => line.cell(&fold.snapshot.process),
                false => line.cell(""),
            }
            let ids = fold.ids(|row| row.request_id);
            match (names_process, row.direction) {
                (false, _) => line.cell(format_args!("[req_id={ids}]")),
                (true, Direction::Outgoing) => line.cell(format_args!("→ [req_id={ids}]")),
                (true, Direction::Incoming) => line.cell(format_args!("← [req_id={ids}]")),
            }
            line.cell(Method(fold));
            line.cell(fold.count());
            line.cell(fold.ages(|row| row.age_us));
            line.cell(State(row));
            line.cell(connection_name(
                row.connection_name.as_deref(),
                row.connection,
            ));
            line.cell(Bytes(fold.sum(|row| row.request_bytes)));
            line.cell(Response(fold));
            line.cell(Only(only_source(row.source, row.age_us, fold.snapshot)));
            line.level = level(row.verdict.as_deref());
            match is_above {
                true => line.note("↳ same verdict as above"),
                false => fold.note_verdict(line, |row| row.verdict.as_deref()),
            }
        },
    )
}

/// Writes the section of requests that were written and not answered.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn pending(
    out: &mut impl io::Write,
    options: &Options,
    rows: &[Placed<'_, Request>],
    names_process: bool,
    none: &str,
) -> io::Result<()> {
    section(out, options, "PENDING RESPONSES (waiting for remote)")?;
    let is_pending = |(_, row): &&Placed<'_, Request>| {
        row.direction == Direction::Outgoing && row.phase == Phase::Sent
    };
    let rows: Vec<_> = rows.iter().filter(is_pending).copied().collect();
    let folds = fold(&rows, options.fold_from(2), |snapshot, row| {
        (snapshot.process.pid, row.connection)
    });
    table(out, options, &PENDING, &folds, none, |fold, line| {
        let row = fold.first();
        match names_process {
            true => line.cell(&fold.snapshot.process),
            false => line.cell(""),
        }
        line.cell(format_args!("[req_id={}]", fold.ids(|row| row.request_id)));
        line.cell(fold.count());
        line.cell(fold.ages(|row| row.phase_age_us));
        line.cell(connection_name(
            row.connection_name.as_deref(),
            row.connection,
        ));
    })
}

/// The method, and the arguments if they are known and of one request.
struct Method<'a>(&'a Fold<'a, Request>);

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.0.first();
        f.write_str(&row.method_name())?;
        match (&row.arguments, self.0.rows.len()) {
            (Some(arguments), 1) => write!(f, "({arguments})"),
            _ => Ok(()),
        }
    }
}

/// Returns how far a request got.
pub fn phase(request: &Request) -> String {
    State(request).to_string()
}

/// The phase and the mark of a request.
struct State<'a>(&'a Request);

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.0;
        let phase = match request.phase {
            Phase::Queued => "waiting for the queue",
            Phase::HandedOver if request.writes_observable => "handed over",
            Phase::HandedOver => "handed over, write not observable",
            Phase::Sent => "sent",
            Phase::Responded => "responded",
            Phase::Received => "received",
            Phase::Running => "running",
            Phase::Responding => "responding",
        };
        match request.mark {
            None => f.write_str(phase),
            Some(Mark::Orphaned) => write!(f, "{phase}, orphaned"),
            Some(Mark::EndedWithoutAnswer) => f.write_str("ended without answer"),
        }
    }
}

/// The payload bytes of the responses, where there are any.
struct Response<'a>(&'a Fold<'a, Request>);

impl fmt::Display for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.rows.iter();
        match rows
            .filter_map(|row| row.response_bytes)
            .reduce(u64::saturating_add)
        {
            Some(bytes) => Bytes(bytes).fmt(f),
            None => Ok(()),
        }
    }
}
