//! What started and ended while the probes were attached, as text.

use std::io;

use super::layout::{Options, section};
use crate::duration::Age;
use crate::model::Window;

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
    section(
        out,
        options,
        &format!("REQUESTS{of} IN THE LAST {}", Age(window.duration_us)),
        window.connections.iter().map(|connection| {
            let name = connection
                .connection_name
                .clone()
                .unwrap_or_else(|| format!("connection {}", connection.connection).into());
            format!(
                "{name}: {} started, {} ended",
                connection.started, connection.ended
            )
        }),
    )
}
