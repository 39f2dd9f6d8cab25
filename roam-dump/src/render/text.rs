//! The dump as text, made for one screen and one hung call. Chooses the view and nothing else.

use std::io;

pub use super::layout::Options;
use super::{graph, merged, process};
use crate::model::Dump;

/// Writes the dump.
///
/// # Errors
///
/// What the writer returns.
pub fn render(out: &mut impl io::Write, dump: &Dump, options: &Options) -> io::Result<()> {
    match dump.processes.as_slice() {
        [snapshot] => process::render(out, snapshot, dump.taken_at, options)?,
        _ => merged::render(out, dump, options)?,
    }
    if let Some(graph) = &dump.graph {
        writeln!(out)?;
        graph::render(out, graph, options)?;
    }
    Ok(())
}
