//! What is known of a process as a whole: its heading, and what was found about it.

use std::io;

use super::layout::{Indent, Level, Options, paragraph};
use crate::duration::Age;
use crate::model::{ProcessDetails, ProcessFinding, Severity};

const LINE: Indent<'_> = Indent {
    first: "",
    next: "  ",
};

/// Writes what a process is: `what`, its user, its uptime and its command line.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn heading(
    out: &mut impl io::Write,
    options: &Options,
    what: &str,
    details: Option<&ProcessDetails>,
) -> io::Result<()> {
    let Some(details) = details else {
        return paragraph(out, options, LINE, Level::Plain, what);
    };
    let text = format!(
        "{what} · user {} · up {}",
        user(details),
        Age(details.uptime_us)
    );
    paragraph(out, options, LINE, Level::Plain, &text)?;
    match &details.command_line {
        Some(line) => {
            let text = format!("command: {line}");
            paragraph(out, options, LINE, Level::Plain, &text)
        }
        None => Ok(()),
    }
}

/// Returns the user of a process by name and uid.
fn user(details: &ProcessDetails) -> String {
    match &details.user_name {
        Some(name) => format!("{name} (uid {})", details.uid),
        None => format!("uid {}", details.uid),
    }
}

/// Returns what was found about a process as a line.
pub(super) fn finding(finding: &ProcessFinding) -> (Level, String) {
    match finding.severity {
        Severity::Warning => (Level::Slow, format!("warning: {}", finding.text)),
        Severity::Critical => (Level::Stuck, format!("critical: {}", finding.text)),
    }
}
