//! Text on a terminal: its width, its colors, and the pager.

use std::process::Command;

use crate::fixture::Fixture;
use crate::run::{Run, command, run};
use crate::terminal::{AS_WIDE_AS_A_FILE, SHORT, Size, TALL, Terminal, on_terminal};

/// A pager that shows that it ran.
const MARKING: &str = "sed s/^/paged/";

/// The dump of a process whose text does not fit on a short terminal.
fn dump(target: &Fixture, arguments: &[&str], pager: Option<&str>) -> Command {
    let pid = target.pid();
    let mut tool = command(&[&["-p", &*pid], arguments].concat());
    tool.envs(pager.map(|pager| ("PAGER", pager)));
    tool
}

#[track_caller]
fn check(arguments: &[&str], pager: &str, size: Size, is_paged: bool) {
    let target = Fixture::start("hang");
    let shown = on_terminal(&dump(&target, arguments, Some(pager)), size);
    assert_eq!(shown.status, 0, "{shown:?}");
    let lines: Vec<_> = shown.text.lines().collect();
    assert!(
        lines.iter().any(|line| line.contains("WAIT GRAPH")),
        "{shown:?}"
    );
    let are_paged = lines.iter().map(|line| line.starts_with("paged"));
    assert!(
        are_paged.clone().all(|paged| paged == is_paged),
        "{shown:?}"
    );
}

#[test]
fn what_is_longer_than_the_terminal_goes_through_the_pager() {
    check(&[], MARKING, SHORT, true);
    check(&[], MARKING, TALL, false);
    check(&["--no-pager"], MARKING, SHORT, false);
}

#[test]
fn a_user_may_have_no_pager() {
    check(&[], "", SHORT, false);
    check(&[], "cat", SHORT, false);
}

#[test]
fn a_pager_that_does_not_exist_hides_nothing() {
    let target = Fixture::start("hang");
    let shown = on_terminal(&dump(&target, &[], Some("/nonexistent/pager -x")), SHORT);
    assert!(shown.text.contains("WAIT GRAPH"), "{shown:?}");
    assert_eq!(shown.status, 0);
}

#[test]
fn a_pager_that_ends_early_is_no_error() {
    let target = Fixture::start("hang").until_stuck();
    let shown = on_terminal(&dump(&target, &["--full"], Some("true")), SHORT);
    assert_eq!((shown.status, &*shown.text), (0, ""));
    let stuck = dump(&target, &["--fail-if-stuck", "1s"], Some("true"));
    let shown = on_terminal(&stuck, SHORT);
    assert_eq!(shown.status, 5);
    assert!(
        shown.text.starts_with("roam-trace: stuck for "),
        "{shown:?}"
    );
}

#[test]
fn a_pager_has_no_capability() {
    let target = Fixture::start("hang");
    let pager = "grep -E '^Cap(Prm|Eff|Inh|Amb)' /proc/self/status; cat > /dev/null";
    let shown = on_terminal(&dump(&target, &[], Some(pager)), SHORT);
    let sets: Vec<_> = shown.text.split_whitespace().skip(1).step_by(2).collect();
    assert_eq!(sets, ["0000000000000000"; 4], "{shown:?}");
}

#[test]
fn less_shows_colors_and_ends_when_it_is_told_to() {
    let target = Fixture::start("hang").until_stuck();
    let mut terminal = Terminal::start(&dump(&target, &[], None), SHORT);
    terminal.wait_for("RPC DIAGNOSTIC DUMP");
    // An interrupt is for the pager, which then shows the page again and forgets what was typed before.
    terminal.press("\u{3}");
    terminal.wait_for("\u{1b}[2J");
    terminal.press("q");
    let shown = terminal.finish();
    assert_eq!(shown.status, 0, "{shown:?}");
    assert!(shown.text.contains("\u{1b}[31m"), "{shown:?}");
    assert!(!shown.text.contains("WAIT GRAPH"), "{shown:?}");
}

#[test]
fn what_is_stuck_is_red_on_a_terminal() {
    let target = Fixture::start("hang").until_stuck();
    let is_red = |variable: Option<&str>| {
        let mut tool = dump(&target, &[], None);
        tool.envs(variable.map(|variable| (variable, "1")));
        on_terminal(&tool, TALL).text.contains("\u{1b}[31m")
    };
    assert!(is_red(None));
    assert!(!is_red(Some("NO_COLOR")));
}

#[test]
fn the_text_is_as_wide_as_the_terminal() {
    let target = Fixture::start("hang").until_stuck();
    let widest = |columns: Option<&str>| {
        let mut tool = dump(&target, &["--color", "never"], None);
        tool.env_remove("COLUMNS");
        let text = match columns {
            None => on_terminal(&tool, TALL).text,
            Some(columns) => {
                tool.env("COLUMNS", columns);
                run(tool).stdout
            }
        };
        text.lines().map(|line| line.chars().count()).max().unwrap()
    };
    assert!((80..=100).contains(&widest(None)));
    assert!(widest(Some("20")) <= 80);
    assert!(widest(Some("1000")) > 120);
}

#[test]
fn a_file_gets_what_a_terminal_of_its_width_shows_without_colors() {
    let target = Fixture::start("hang").until_stuck();
    let of = |arguments| {
        let mut tool = dump(&target, arguments, None);
        tool.env_remove("COLUMNS");
        tool
    };
    let shown = on_terminal(&of(&["--color", "never"]), AS_WIDE_AS_A_FILE);
    let on_terminal = Run {
        status: shown.status,
        stdout: shown.text,
        stderr: String::new(),
    };
    assert_eq!(run(of(&[])).redacted(&[]), on_terminal.redacted(&[]));
}
