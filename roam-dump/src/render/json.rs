//! The dump as JSON: the fields of [`crate::model`] in their order.

use std::io;

use crate::model::Dump;

/// Writes the dump as one JSON object and a line break.
///
/// # Errors
///
/// The error of the writer.
pub fn render(out: &mut impl io::Write, dump: &Dump) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, dump)?;
    out.write_all(b"\n")
}
