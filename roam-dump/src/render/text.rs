//! The dump as text. Chooses the view for one or several processes, and nothing else.

use std::io;
use std::sync::Arc;

pub use super::layout::Options;
use super::{graph, merged, process};
use crate::analysis::STUCK_US;
use crate::duration::Age;
use crate::model::{Code, Dump, Snapshot, Verdict};

/// Writes the dump.
///
/// # Errors
///
/// The error of the writer.
pub fn render(out: &mut impl io::Write, dump: &Dump, options: &Options) -> io::Result<()> {
    match dump.processes.as_slice() {
        [snapshot] => process::render(out, snapshot, dump.taken_at, options)?,
        _ => merged::render(out, dump, options)?,
    }
    if let Some(graph) = &dump.graph {
        writeln!(out)?;
        graph::render(out, graph, &nothing_stuck(dump), options)?;
    }
    Ok(())
}

/// What stands in place of the wait graph.
fn nothing_stuck(dump: &Dump) -> String {
    let requests = || {
        dump.processes
            .iter()
            .flat_map(|snapshot| &snapshot.requests)
    };
    let is_stuck = |verdict: &Option<Arc<Verdict>>| {
        let verdict = verdict.as_ref();
        verdict.is_some_and(|verdict| verdict.code != Code::Usual)
    };
    let is_healthy = |snapshot: &Snapshot| {
        snapshot.gaps.is_empty()
            && snapshot.findings.is_empty()
            && !snapshot
                .connections
                .iter()
                .any(|row| is_stuck(&row.verdict))
            && !snapshot.channels.iter().any(|row| is_stuck(&row.verdict))
    };
    if !dump.processes.iter().all(is_healthy) || requests().any(|row| is_stuck(&row.verdict)) {
        return "(none)".to_owned();
    }
    match requests().map(|row| row.age_us).max() {
        Some(oldest_us) if oldest_us > STUCK_US => {
            let oldest = Age(oldest_us);
            format!("nothing is stuck; the oldest request has waited {oldest}")
        }
        _ => "nothing has waited longer than 1 s".to_owned(),
    }
}
