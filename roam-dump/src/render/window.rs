//! What started and ended while the probes were attached, as text.

use std::io;

use super::cell::connection_name;
use super::layout::{Options, section};
use super::table::{Column, table};
use crate::duration::Age;
use crate::model::Window;

const CONNECTIONS: [Column; 3] = [
    Column::left("CONNECTION"),
    Column::right("STARTED"),
    Column::right("ENDED"),
];

/// Writes the section. `of` names the process where there are several.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn render(
    out: &mut impl io::Write,
    window: &Window,
    of: &str,
    options: &Options,
) -> io::Result<()> {
    let title = format!("REQUESTS{of} IN THE LAST {}", Age(window.duration_us));
    section(out, options, &title)?;
    table(
        out,
        options,
        &CONNECTIONS,
        &window.connections,
        "(none)",
        |row, line| {
            line.cell(connection_name(
                row.connection_name.as_deref(),
                row.connection,
            ));
            line.cell(row.started);
            line.cell(row.ended);
        },
    )
}
