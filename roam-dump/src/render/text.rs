//! The dump as text. Chooses the view for one or several processes, and nothing else.

use std::io;

pub use super::layout::Options;
use super::{graph, merged, process};
use crate::model::Dump;

/// Writes the dump.
///
/// # Errors
///
/// The error of the writer.
pub fn render(out: &mut impl io::Write, dump: &Dump, options: &Options) -> io::Result<()> {
    let roots = dump
        .graph
        .as_ref()
        .map_or_else(Vec::new, graph::root_groups);
    match dump.processes.as_slice() {
        [snapshot] => process::render(out, dump, snapshot, &roots, options)?,
        _ => merged::render(out, dump, &roots, options)?,
    }
    if let Some(graph) = &dump.graph {
        writeln!(out)?;
        graph::render_groups(out, graph, roots, options)?;
    }
    Ok(())
}
