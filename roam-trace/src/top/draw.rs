//! Draws what the user sees, at any size.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget, Wrap};
use unicode_width::UnicodeWidthStr;

use super::cell::Cell;
use super::layout::{Column, Placed, Side, cut, place};
use super::readings::Since;
use super::row::{Level, Row};
use super::state::{Overlay, State};
use super::summary::Totals;
use super::view::View;

/// Whether there are colors. What is stuck or selected differs without them, too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme {
    /// Whether there are.
    pub(crate) color: bool,
}

const HELP: [(&str, &str); 10] = [
    ("1 to 5, Tab, ← →", "another view"),
    ("↑ ↓ PgUp PgDn Home End", "move"),
    ("Enter", "details of the row, and what it waits for"),
    ("s, S", "sort by the next or the previous column"),
    ("r", "reverse the order"),
    ("/", "show only rows that contain a text"),
    ("t", "methods: since the last reading, or the start"),
    ("Space", "pause: nothing is read meanwhile"),
    ("?", "this help"),
    ("q, Esc, Ctrl-C", "quit; Ctrl-Z suspends"),
];

const LEGEND: [&str; 3] = [
    "→ calls that a process makes, ← calls that it serves.",
    "Red: stuck, or a table with at least 95% of its rows in use.",
    "Yellow: old, but usual for its method, or a table with at least 80% of its rows in use.",
];

/// Where the parts are; those that have no room have no height.
struct Parts {
    title: Rect,
    tabs: Rect,
    header: Rect,
    body: Rect,
    problem: Rect,
    footer: Rect,
}

impl Parts {
    fn of(area: Rect, has_problem: bool) -> Self {
        let height = area.height;
        let lines = |is_shown: bool| u16::from(is_shown);
        let mut heights = [
            lines(height >= 4),
            lines(height >= 6),
            lines(height >= 2),
            0,
            lines(height >= 7 && has_problem),
            lines(height >= 3),
        ];
        heights[3] = height.saturating_sub(heights.iter().sum());
        let mut y = area.y;
        let [title, tabs, header, body, problem, footer] = heights.map(|height| {
            let part = Rect { y, height, ..area };
            y += height;
            part
        });
        Self {
            title,
            tabs,
            header,
            body,
            problem,
            footer,
        }
    }
}

/// Returns how many rows are shown at once on that much room.
pub(crate) fn body_rows(area: Rect, state: &State) -> usize {
    usize::from(Parts::of(area, !state.problems().is_empty()).body.height)
}

/// Draws the state.
pub(crate) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let problems = state.problems();
    let parts = Parts::of(area, !problems.is_empty());
    write(buffer, parts.title, &title(state, theme));
    write(buffer, parts.tabs, &tabs(state, area.width));
    match state.overlay {
        Overlay::None => table(state, theme, &parts, buffer),
        Overlay::Help => page("Keys", help(), 0, &parts, buffer),
        Overlay::Details(id, line) => page("Details", state.details(id), line, &parts, buffer),
    }
    if let [first, others @ ..] = problems.as_slice() {
        let more = match others.len() {
            0 => String::new(),
            more => format!("(+{more}) "),
        };
        let line = Line::styled(format!("{more}{first}"), theme.level(Level::Warning));
        write(buffer, parts.problem, &line);
    }
    write(buffer, parts.footer, &footer(state));
}

impl Theme {
    fn level(self, level: Level) -> Style {
        match level {
            Level::Plain => Style::new(),
            Level::Warning => self.colored(Color::Yellow),
            Level::Critical => self.colored(Color::Red),
        }
    }

    fn colored(self, color: Color) -> Style {
        match self.color {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }
}

/// What a column of numbers has at the least: numbers that grow by a digit do not move the columns.
const NUMBER: usize = 6;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Writes a line where there is room for it.
fn write(buffer: &mut Buffer, area: Rect, line: &Line<'_>) {
    if area.height > 0 {
        buffer.set_line(area.x, area.y, line, area.width);
    }
}

fn title(state: &State, theme: Theme) -> Line<'static> {
    let Totals {
        processes,
        stuck,
        outgoing,
        incoming,
    } = state.totals();
    let name = match state.is_paused {
        true => Span::styled("PAUSED", REVERSED),
        false => Span::styled("roam-trace top", BOLD),
    };
    let processes = match processes {
        1 => "  1 process".to_owned(),
        processes => format!("  {processes} processes"),
    };
    let level = match stuck {
        0 => Level::Plain,
        _ => Level::Critical,
    };
    let [outgoing_rate, incoming_rate] =
        [outgoing, incoming].map(|calls| Cell::PerSecond(calls.ended_per_second));
    let rest = format!(
        "  in flight → {} ← {}  calls/s → {outgoing_rate} ← {incoming_rate}",
        outgoing.in_flight, incoming.in_flight
    );
    Line::from(vec![
        name,
        Span::raw(processes),
        Span::styled(format!("  {stuck} stuck"), theme.level(level)),
        Span::raw(rest),
    ])
}

/// The views, or only the one that is shown if there is no room for all.
fn tabs(state: &State, width: u16) -> Line<'static> {
    let tab = |(number, view): (usize, View)| {
        let is_shown = view == state.view;
        let since = match (view, state.since) {
            (View::Methods, Since::LastReading) if is_shown => "(last reading) ",
            (View::Methods, Since::Start) if is_shown => "(since start) ",
            _ => "",
        };
        let style = if is_shown { REVERSED } else { Style::new() };
        Span::styled(format!(" {number} {} {since}", view.title()), style)
    };
    let all = Line::from_iter((1..).zip(View::ALL).map(tab));
    match all.width() > width.into() {
        true => Line::from(tab((state.view as usize + 1, state.view))),
        false => all,
    }
}

fn footer(state: &State) -> Line<'static> {
    if state.is_typing {
        return Line::from(format!("/{}_  Enter keep  Esc clear", state.filter));
    }
    let mut spans = Vec::new();
    if !state.filter.is_empty() {
        let text = format!("/{} ({} hidden, Esc shows)", state.filter, state.hidden);
        spans.push(Span::styled(text, REVERSED));
        spans.push(Span::raw("  "));
    }
    let sort = state.sort();
    let column = state.view.columns()[sort.column].title;
    let keys = match state.overlay {
        Overlay::None => format!(
            "q quit  ? help  Space {}  / filter  Enter details  s, r sort: {column}{}",
            if state.is_paused { "resume" } else { "pause" },
            mark(sort.is_descending),
        ),
        Overlay::Help => "Esc back  q quit".to_owned(),
        Overlay::Details(..) => "Esc back  ↑↓ scroll  q quit".to_owned(),
    };
    spans.push(Span::raw(keys));
    Line::from(spans)
}

fn help() -> Vec<String> {
    let keys = HELP
        .iter()
        .map(|(keys, meaning)| format!("{keys:<24}{meaning}"));
    let legend = LEGEND.iter().map(|line| (*line).to_owned());
    keys.chain([String::new()]).chain(legend).collect()
}

fn mark(is_descending: bool) -> &'static str {
    match is_descending {
        true => "▼",
        false => "▲",
    }
}

/// Draws lines of text over the rows.
fn page(heading: &'static str, lines: Vec<String>, first: u16, parts: &Parts, buffer: &mut Buffer) {
    write(buffer, parts.header, &Line::styled(heading, BOLD));
    let lines: Vec<_> = lines.into_iter().map(Line::from).collect();
    Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .scroll((first, 0))
        .render(parts.body, buffer);
}

fn table(state: &State, theme: Theme, parts: &Parts, buffer: &mut Buffer) {
    let columns = state.view.columns();
    let sort = state.sort();
    let titles: Vec<String> = (columns.iter().enumerate())
        .map(|(index, column)| match index == sort.column {
            true => format!("{}{}", column.title, mark(sort.is_descending)),
            false => column.title.to_owned(),
        })
        .collect();
    let shown = state.rows.iter().enumerate().skip(state.offset);
    let shown: Vec<_> = shown.take(parts.body.height.into()).collect();
    let cells: Vec<Vec<String>> = shown.iter().map(|(_, row)| texts(row)).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            if columns[column].title == "PROCESS" && !state.has_several_processes() {
                return 0;
            }
            let of_cells = cells.iter().map(|cells| cells[column].width());
            let least = match columns[column].is_number() {
                true => NUMBER,
                false => 0,
            };
            let of_title = titles[column].width().max(least);
            of_cells.max().unwrap_or(0).max(of_title)
        })
        .collect();
    let placed = place(columns, &widths, parts.body.width.into());
    let header = line(columns, &placed, &titles);
    write(buffer, parts.header, &Line::styled(header, BOLD));
    for (((index, row), cells), y) in shown.iter().zip(&cells).zip(parts.body.y..) {
        let area = Rect {
            y,
            height: 1,
            ..parts.body
        };
        let text = line(columns, &placed, cells);
        write(buffer, area, &Line::styled(text, theme.level(row.level)));
        if *index == state.cursor {
            buffer.set_style(area, REVERSED);
        }
    }
    if shown.is_empty() {
        let none = match (state.readings(), state.hidden) {
            (None, _) => "(reading)".to_owned(),
            (Some(_), 0) => "(none)".to_owned(),
            (Some(_), hidden) => format!("(none of {hidden} contains the text)"),
        };
        write(buffer, parts.body, &Line::from(none));
    }
}

fn texts(row: &Row) -> Vec<String> {
    row.cells.iter().map(ToString::to_string).collect()
}

/// The cells of a row in their places.
fn line(columns: &[Column], placed: &[Placed], cells: &[String]) -> String {
    let mut line = String::new();
    for place in placed {
        let text = cut(&cells[place.column], place.width);
        let free = place.width - text.width().min(place.width);
        let before = place.x.saturating_sub(line.width());
        line.extend(std::iter::repeat_n(' ', before));
        match columns[place.column].side {
            Side::Left => line += &text,
            Side::Right => {
                line.extend(std::iter::repeat_n(' ', free));
                line += &text;
            }
        }
    }
    line
}
