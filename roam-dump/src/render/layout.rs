//! What all text views share: options, headings, sections, times.

use std::fmt;
use std::io;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::count::Counted;
use crate::model::{Snapshot, Source};

pub(super) const RULE: &str = "============================================================";

/// Color and time zone of the text.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether headings and long waits are colored.
    pub color: bool,
    /// The time zone of the heading.
    pub time_zone: TimeZone,
}

impl Options {
    pub(super) fn heading(&self) -> Style {
        self.style(Style::new().bold())
    }

    pub(super) fn warning(&self) -> Style {
        self.style(AnsiColor::Red.on_default())
    }

    fn style(&self, style: Style) -> Style {
        if self.color { style } else { Style::new() }
    }
}

/// Where the rows of a process come from, and what is missing.
pub(super) fn sources(snapshot: &Snapshot, options: &Options) -> String {
    let mut text = format!("source: {} · ", snapshot.source);
    let hidden = match snapshot.younger_hidden {
        0 => String::new(),
        rows => format!(" · {} hidden (--min-age)", Counted(rows, "younger rows")),
    };
    if snapshot.gaps.is_empty() {
        text.push_str("complete");
        return text + &hidden;
    }
    let warning = options.warning();
    let gaps: Vec<_> = snapshot.gaps.iter().map(ToString::to_string).collect();
    text.push_str(&format!(
        "{warning}incomplete: {}{warning:#}",
        gaps.join("; ")
    ));
    text + &hidden
}

pub(super) fn time(taken_at: Timestamp, options: &Options) -> String {
    taken_at
        .to_zoned(options.time_zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// What stands in place of the connections if the probes could not see any.
pub(super) fn no_connections(processes: &[Snapshot]) -> Option<&'static str> {
    let are_none = processes
        .iter()
        .all(|snapshot| snapshot.connections.is_empty());
    let are_probes = processes
        .iter()
        .any(|snapshot| snapshot.source == Source::Probes);
    (are_none && are_probes).then_some("(none was opened while the probes were attached)")
}

pub(super) fn section<L: fmt::Display>(
    out: &mut impl io::Write,
    options: &Options,
    title: &str,
    lines: impl IntoIterator<Item = L>,
) -> io::Result<()> {
    let heading = options.heading();
    writeln!(out, "\n{heading}{title}:{heading:#}")?;
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        writeln!(out, "  (none)")?;
    }
    for line in lines {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}
