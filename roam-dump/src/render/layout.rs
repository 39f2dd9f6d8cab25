//! What all text views share: options, headings, sections, paragraphs that are wrapped.

use std::io;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use textwrap::core::display_width;
use textwrap::{WordSeparator, WordSplitter, WrapAlgorithm};

use crate::count::Counted;
use crate::duration::Ago;
use crate::model::{Snapshot, Source};

pub(super) const RULE: &str = "============================================================";

/// What is left for text at least, however deep it is indented.
const MIN_TEXT: usize = 40;

/// How the text is laid out.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether headings are bold, what is stuck is red and what is slow is yellow.
    pub color: bool,
    /// The time zone of the heading.
    pub time_zone: TimeZone,
    /// Columns that a line may take.
    pub width: usize,
    /// Whether rows that are alike are listed one by one.
    pub is_full: bool,
}

impl Options {
    /// Columns of a line that goes to a file or a program.
    pub const FILE_WIDTH: usize = 120;
    /// Columns of the narrowest layout: on a terminal with less, the terminal breaks the lines.
    pub const MIN_WIDTH: usize = 80;

    /// Returns the options for text that goes to a file or a program: without color, in the time zone of the system.
    pub fn plain() -> Self {
        Self {
            color: false,
            time_zone: TimeZone::system(),
            width: Self::FILE_WIDTH,
            is_full: false,
        }
    }

    /// From how many rows on those that are alike are folded; never if every row is to be listed.
    pub(super) fn fold_from(&self, rows: usize) -> Option<usize> {
        (!self.is_full).then_some(rows)
    }

    pub(super) fn heading(&self) -> Style {
        self.style(Style::new().bold())
    }

    /// The style of a table's titles.
    pub(super) fn title(&self) -> Style {
        self.style(Style::new().dimmed())
    }

    pub(super) fn level(&self, level: Level) -> Style {
        match level {
            Level::Plain => Style::new(),
            Level::Slow => self.style(AnsiColor::Yellow.on_default()),
            Level::Stuck => self.style(AnsiColor::Red.on_default()),
        }
    }

    fn style(&self, style: Style) -> Style {
        if self.color { style } else { Style::new() }
    }
}

/// How bad a line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Neither.
    #[default]
    Plain,
    /// It is slow, or may soon be stuck.
    Slow,
    /// It is stuck, or holds up what is.
    Stuck,
}

/// How a paragraph is indented.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indent<'a> {
    /// In front of the first line.
    pub(super) first: &'a str,
    /// In front of the others.
    pub(super) next: &'a str,
}

/// Writes a text, wrapped where it is longer than a line.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn paragraph(
    out: &mut impl io::Write,
    options: &Options,
    indent: Indent<'_>,
    level: Level,
    text: &str,
) -> io::Result<()> {
    let Indent { first, next } = indent;
    let style = options.level(level);
    if display_width(first) + display_width(text) <= options.width {
        return writeln!(out, "{first}{style}{text}{style:#}");
    }
    let indented = display_width(first).max(display_width(next));
    let room = options.width.saturating_sub(indented).max(MIN_TEXT);
    for (index, line) in wrapped(text, room).into_iter().enumerate() {
        let indent = if index == 0 { first } else { next };
        writeln!(out, "{indent}{style}{line}{style:#}")?;
    }
    Ok(())
}

/// The lines of a text that is wrapped at so many columns. A word that is longer is broken.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<std::borrow::Cow<'_, str>> {
    let options = textwrap::Options::new(columns)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::wrap(text, options)
}

/// Where the rows of a process come from, and what is missing.
pub(super) fn sources(snapshot: &Snapshot) -> String {
    let mut text = format!("source: {}", snapshot.source);
    if let Some(armed_us) = snapshot.armed_us {
        text.push_str(&format!(", armed {}", Ago(armed_us)));
    }
    text.push_str(" · ");
    match snapshot.gaps.as_slice() {
        [] => text.push_str("complete"),
        gaps => {
            let gaps: Vec<_> = gaps.iter().map(ToString::to_string).collect();
            text.push_str("incomplete: ");
            text.push_str(&gaps.join("; "));
        }
    }
    if snapshot.younger_hidden > 0 {
        let hidden = Counted(snapshot.younger_hidden, "younger rows");
        text.push_str(&format!(" · {hidden} hidden (--min-age)"));
    }
    text
}

pub(super) fn time(taken_at: Timestamp, options: &Options) -> String {
    taken_at
        .to_zoned(options.time_zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

/// What stands in place of the connections if the probes could not see any.
pub(super) fn no_connections(processes: &[Snapshot]) -> &'static str {
    let are_probes = processes
        .iter()
        .any(|snapshot| snapshot.source == Source::Probes);
    match are_probes {
        true => "(none was opened while the probes were attached)",
        false => "(none)",
    }
}

/// What stands in place of the requests if there is none that anybody could see.
pub(super) fn no_requests(processes: &[Snapshot]) -> &'static str {
    if processes.iter().any(Snapshot::has_unknown_requests) {
        "(unknown)"
    } else if processes.iter().any(Snapshot::is_probes_only) {
        "(none started while the probes were attached)"
    } else {
        "(none)"
    }
}

/// Writes the heading of a section.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn section(out: &mut impl io::Write, options: &Options, title: &str) -> io::Result<()> {
    let heading = options.heading();
    writeln!(out, "\n{heading}{title}:{heading:#}")
}
