//! The dump as JSON: the fields of [`crate::model`] in their order.

use std::io;

use crate::model::Dump;

/// Writes the dump as one JSON object and a line break; indented if it `is_pretty`.
///
/// # Errors
///
/// The error of the writer.
pub fn render(out: &mut impl io::Write, dump: &Dump, is_pretty: bool) -> io::Result<()> {
    match is_pretty {
        true => serde_json::to_writer_pretty(&mut *out, dump)?,
        false => serde_json::to_writer(&mut *out, dump)?,
    }
    out.write_all(b"\n")
}
