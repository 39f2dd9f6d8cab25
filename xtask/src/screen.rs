//! Draws what `roam-trace top` shows, as a picture for the documentation.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use anyhow::Result;
use vt100::{Cell, Color, Screen};

use crate::demo::{Demo, Programs};
use crate::paths;
use crate::terminal::{Size, Terminal};

const SIZE: Size = Size {
    rows: 16,
    columns: 116,
};
/// Until the hung calls stand out, and rates are steady.
const SETTLED: Duration = Duration::from_secs(5);

/// Pixels of a character, and of the margin.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
const MARGIN: f64 = 10.0;
/// From the top of a line to the feet of its letters.
const BASELINE: f64 = 13.5;

const FOREGROUND: &str = "#d0d0d0";
const BACKGROUND: &str = "#1c1c1c";

/// Starts a demo that hangs, lets `top` show it, and writes docs/top.svg.
pub(crate) fn run() -> Result<()> {
    let programs = Programs::build()?;
    let demo = Demo::start(&programs, &["--hang", "chain", "--rate", "200"])?;
    std::thread::sleep(SETTLED);
    let mut command = programs.trace();
    command.args(["top", "--interval", "1s"]);
    for pid in demo.cells.iter().chain([&demo.host]) {
        command.args(["-p", &pid.to_string()]);
    }
    let mut terminal = Terminal::start(&command, SIZE);
    // The second reading is the first with rates.
    terminal.wait_for_screen("rates", |screen| {
        let contents = screen.contents();
        contents.contains("stuck") && !contents.contains("calls/s → 0.0")
    });
    terminal.wait_for_screen("the last line", |screen| {
        screen.contents().contains("q quit")
    });
    let svg = svg(terminal.screen());
    terminal.press("q");
    terminal.finish();
    demo.stop()?;
    let path = paths::root().join("docs/top.svg");
    fs::write(&path, svg?)?;
    println!("{}", path.display());
    Ok(())
}

/// How characters look.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    foreground: &'static str,
    background: &'static str,
    is_bold: bool,
}

impl Look {
    fn of(cell: &Cell) -> Self {
        let [foreground, background] = [(cell.fgcolor(), FOREGROUND), (cell.bgcolor(), BACKGROUND)]
            .map(|(color, default)| match color {
                Color::Idx(1) => "#ff6b6b",
                Color::Idx(3) => "#e5c07b",
                _ => default,
            });
        let is_bold = cell.bold();
        match cell.inverse() {
            true => Self {
                foreground: background,
                background: foreground,
                is_bold,
            },
            false => Self {
                foreground,
                background,
                is_bold,
            },
        }
    }
}

fn svg(screen: &Screen) -> Result<String> {
    let (rows, columns) = (SIZE.rows, SIZE.columns);
    let width = f64::from(columns) * WIDTH + 2.0 * MARGIN;
    let height = f64::from(rows) * HEIGHT + 2.0 * MARGIN;
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14">"#
    )?;
    writeln!(svg, "<title>roam-trace top</title>")?;
    writeln!(
        svg,
        r#"<rect width="{width}" height="{height}" rx="6" fill="{BACKGROUND}"/>"#
    )?;
    for row in 0..rows {
        let y = MARGIN + f64::from(row) * HEIGHT;
        let mut column = 0;
        while let Some(first) = screen.cell(row, column).filter(|_| column < columns) {
            let look = Look::of(first);
            let start = column;
            let mut text = String::new();
            while let Some(cell) = screen
                .cell(row, column)
                .filter(|cell| Look::of(cell) == look)
            {
                match cell.has_contents() {
                    true => text.push_str(cell.contents()),
                    false if cell.is_wide_continuation() => {}
                    false => text.push(' '),
                }
                column += 1;
            }
            run_of(&mut svg, look, start, column, y, &text)?;
        }
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

/// Characters that look alike.
fn run_of(svg: &mut String, look: Look, start: u16, end: u16, y: f64, text: &str) -> Result<()> {
    let x = MARGIN + f64::from(start) * WIDTH;
    let width = f64::from(end - start) * WIDTH;
    let Look {
        foreground,
        background,
        is_bold,
    } = look;
    if background != BACKGROUND {
        writeln!(
            svg,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{HEIGHT}" fill="{background}"/>"#
        )?;
    }
    let shown = text.trim_end();
    if !shown.is_empty() {
        let characters = shown.chars().count() as f64;
        let weight = if is_bold {
            r#" font-weight="bold""#
        } else {
            ""
        };
        let escaped = shown.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(
            svg,
            r#"<text x="{x:.1}" y="{:.1}" fill="{foreground}"{weight} xml:space="preserve" textLength="{:.1}">{escaped}</text>"#,
            y + BASELINE,
            characters * WIDTH
        )?;
    }
    Ok(())
}
