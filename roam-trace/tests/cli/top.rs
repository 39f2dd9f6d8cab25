//! `roam-trace top` on a terminal.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roam_load::Log;
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::Fixture;
use crate::run::{PublicCopy, command, roam_trace, wait_until};
use crate::terminal::{Shown, Size, Terminal};

const NARROW: Size = Size {
    rows: 10,
    columns: 20,
};
const USUAL: Size = Size {
    rows: 24,
    columns: 80,
};
const LARGE: Size = Size {
    rows: 60,
    columns: 200,
};

/// Starts it on a process.
fn top(pid: &str, arguments: &[&str], size: Size) -> Terminal {
    let mut tool = command(&[&["top", "-p", pid, "--interval", "100ms"], arguments].concat());
    tool.env_remove("COLUMNS");
    Terminal::start(&tool, size)
}

/// The words of the first line with a text.
fn words(terminal: &Terminal, text: &str) -> Vec<String> {
    let contents = terminal.contents();
    let line = contents.lines().find(|line| line.contains(text));
    let line = line.unwrap_or_else(|| panic!("no {text} in:\n{contents}"));
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

fn wait_for_text(terminal: &mut Terminal, text: &str) {
    terminal.wait_for_screen(text, |screen| screen.contents().contains(text));
}

#[track_caller]
fn check_left(shown: &Shown) {
    assert_eq!(shown.status, 0, "{shown:?}");
    assert!(shown.is_restored, "{shown:?}");
}

fn signal(terminal: &Terminal, signal: Signal) {
    let pid = Pid::from_raw(terminal.pid() as i32).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn every_size_shows_rows_and_gives_the_terminal_back() {
    let target = Fixture::start("busy");
    for (size, texts) in [
        (NARROW, &["RATE/S"][..]),
        (USUAL, &["RATE/S", "→ TcpTunnel.open", "q quit"]),
        (LARGE, &["RATE/S", "COUNT", "→ TcpTunnel.open", "q quit"]),
    ] {
        let mut terminal = top(&target.pid(), &[], size);
        for text in texts {
            wait_for_text(&mut terminal, text);
        }
        // At most five hundred calls a second.
        terminal.wait_for_screen("a rate", |screen| {
            let contents = screen.contents();
            let lines = contents.lines();
            let mut rates = lines.filter_map(|line| line.split_ascii_whitespace().next());
            rates.any(|rate| rate.parse::<f64>().is_ok_and(|rate| rate > 10.0))
        });
        assert!(terminal.screen().alternate_screen());
        assert!(!terminal.is_as_shells_expect());
        terminal.press("q");
        check_left(&terminal.finish());
    }
}

#[test]
fn views_filter_details_and_help() {
    let target = Fixture::start("hang").until_stuck();
    let mut terminal = top(&target.pid(), &[], USUAL);
    wait_for_text(&mut terminal, "2 stuck");
    terminal.press("2");
    wait_for_text(&mut terminal, "peer_silent");
    terminal.press("/tcp\r");
    wait_for_text(&mut terminal, "/tcp (1 hidden");
    assert!(!terminal.contents().contains("method_id="));
    terminal.press("\r");
    wait_for_text(
        &mut terminal,
        "verdict: peer_silent: sent; nothing has ever arrived",
    );
    wait_for_text(&mut terminal, "request: [req_id=93], outgoing");
    terminal.press("\u{1b}");
    wait_for_text(&mut terminal, "AGE▼");
    terminal.press("\u{1b}");
    wait_for_text(&mut terminal, "method_id=0x");
    terminal.press("?");
    wait_for_text(&mut terminal, "this help");
    terminal.press("?3");
    wait_for_text(&mut terminal, "cell-http");
    terminal.press("4");
    wait_for_text(&mut terminal, "→ 370");
    terminal.press("5");
    wait_for_text(&mut terminal, "65536");
    terminal.press("\u{3}");
    check_left(&terminal.finish());
}

#[test]
fn keys_sort_and_pause() {
    let target = Fixture::start("hang");
    let mut terminal = top(&target.pid(), &[], USUAL);
    terminal.press("2");
    wait_for_text(&mut terminal, "AGE▼");
    terminal.press("S");
    wait_for_text(&mut terminal, "METHOD▲");
    wait_for_text(&mut terminal, "sort: METHOD▲");
    terminal.press("r");
    wait_for_text(&mut terminal, "METHOD▼");
    terminal.press(" ");
    wait_for_text(&mut terminal, "Space resume");
    let paused = terminal.contents();
    terminal.press("2r");
    wait_for_text(&mut terminal, "METHOD▲");
    // Ages would have grown.
    std::thread::sleep(Duration::from_millis(300));
    terminal.press("r");
    wait_for_text(&mut terminal, "METHOD▼");
    assert_eq!(terminal.contents(), paused);
    terminal.press(" ");
    terminal.wait_for_screen("older calls", |screen| screen.contents() != paused);
    terminal.press("q");
    check_left(&terminal.finish());
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    let target = Fixture::start("busy");
    for ending in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut terminal = top(&target.pid(), &[], USUAL);
        wait_for_text(&mut terminal, "TcpTunnel.open");
        signal(&terminal, ending);
        check_left(&terminal.finish());
    }
}

#[test]
fn it_can_be_suspended() {
    let target = Fixture::start("busy");
    for keys in [Some("\u{1a}"), None] {
        let mut terminal = top(&target.pid(), &[], USUAL);
        wait_for_text(&mut terminal, "TcpTunnel.open");
        match keys {
            Some(keys) => terminal.press(keys),
            None => signal(&terminal, Signal::TSTP),
        }
        let stat = format!("/proc/{}/stat", terminal.pid());
        wait_until("it is stopped", || {
            fs::read_to_string(&stat).unwrap().contains(") T ")
        });
        terminal.wait_for_screen("the old screen", |screen| !screen.alternate_screen());
        assert!(terminal.is_as_shells_expect());
        signal(&terminal, Signal::CONT);
        wait_for_text(&mut terminal, "TcpTunnel.open");
        assert!(terminal.screen().alternate_screen() && !terminal.is_as_shells_expect());
        terminal.press("q");
        check_left(&terminal.finish());
    }
}

#[test]
fn it_ends_after_a_duration() {
    let target = Fixture::start("busy");
    let shown = top(&target.pid(), &["-d", "300ms"], USUAL).finish();
    check_left(&shown);
    assert!(shown.text.contains("TcpTunnel.open"), "{shown:?}");
}

#[test]
fn the_screen_has_the_size_of_the_terminal() {
    let target = Fixture::start("busy");
    let mut terminal = top(&target.pid(), &[], NARROW);
    wait_for_text(&mut terminal, "RATE/S");
    assert!(!terminal.contents().contains("COUNT"));
    terminal.resize(LARGE);
    wait_for_text(&mut terminal, "COUNT");
    terminal.resize(NARROW);
    terminal.wait_for_screen("few columns", |screen| {
        let contents = screen.contents();
        contents.contains("RATE/S") && !contents.contains("P99")
    });
    terminal.press("q");
    check_left(&terminal.finish());
}

#[test]
fn a_terminal_that_does_not_know_its_size_is_a_usual_one() {
    let target = Fixture::start("busy");
    let unknown = Size {
        rows: 0,
        columns: 0,
    };
    let mut terminal = top(&target.pid(), &[], unknown);
    wait_for_text(&mut terminal, "TcpTunnel.open");
    terminal.press("q");
    check_left(&terminal.finish());
}

#[test]
fn a_process_that_ends_is_shown_as_ended() {
    let mut target = Fixture::start("busy");
    let mut terminal = top(&target.pid(), &[], USUAL);
    wait_for_text(&mut terminal, "TcpTunnel.open");
    let ended = format!("fixture[{}] has ended", target.pid());
    target.kill_and_collect();
    wait_for_text(&mut terminal, &ended);
    wait_for_text(&mut terminal, "TcpTunnel.open");
    terminal.press("q");
    check_left(&terminal.finish());
}

#[test]
fn all_finds_processes_that_start_and_drops_those_that_end() {
    let first = Fixture::start("busy");
    let mut tool = command(&["top", "--all", "--interval", "100ms"]);
    tool.env_remove("COLUMNS");
    let mut terminal = Terminal::start(&tool, LARGE);
    wait_for_text(&mut terminal, &format!("fixture[{}]", first.pid()));
    let mut second = Fixture::start("hang");
    let name = format!("fixture[{}]", second.pid());
    wait_for_text(&mut terminal, &name);
    second.kill_and_collect();
    terminal.wait_for_screen("it is gone", |screen| !screen.contents().contains(&name));
    terminal.press("q");
    check_left(&terminal.finish());
}

#[test]
fn colors_are_those_that_were_asked_for() {
    let target = Fixture::start("hang").until_stuck();
    let is_red = |variable: Option<&str>, arguments: &[&str]| {
        let pid = target.pid();
        let mut tool = command(&[&["top", "-p", &pid], arguments].concat());
        tool.env_remove("COLUMNS");
        tool.envs(variable.map(|variable| (variable, "1")));
        let mut terminal = Terminal::start(&tool, USUAL);
        wait_for_text(&mut terminal, "q quit");
        let screen = terminal.screen();
        let mut cells = (0..USUAL.columns).filter_map(|column| screen.cell(0, column));
        let is_red = cells.any(|cell| cell.fgcolor() == vt100::Color::Idx(1));
        terminal.press("q");
        check_left(&terminal.finish());
        is_red
    };
    assert!(is_red(None, &[]));
    assert!(!is_red(Some("NO_COLOR"), &[]));
    assert!(!is_red(None, &["--color", "never"]));
    assert!(is_red(Some("NO_COLOR"), &["--color", "always"]));
}

#[test]
fn names_cannot_act_on_the_terminal() {
    let target = Fixture::start("escapes");
    let mut terminal = top(&target.pid(), &[], LARGE);
    terminal.press("3");
    wait_for_text(&mut terminal, r#"\u{1b}[31mred\u{7}\n\u{202e}) "x""#);
    terminal.press("q");
    check_left(&terminal.finish());
}

#[test]
fn it_needs_a_terminal_and_a_process() {
    let run = roam_trace(&["top", "-p", "4242"]);
    assert_eq!((run.status, &*run.stdout), (2, ""));
    insta::assert_snapshot!(run.stderr);
    let shown = top("2147483647", &[], USUAL).finish();
    assert_eq!(shown.status, 1);
    assert!(shown.is_restored);
    assert!(
        shown
            .text
            .starts_with("roam-trace: cannot read process 2147483647"),
        "{shown:?}"
    );
}

#[test]
fn percentiles_are_within_a_bucket_of_what_was_measured() {
    let target = Fixture::start("measured");
    let measured: Vec<f64> = (target.answer.split(' '))
        .map(|us| us.parse::<f64>().unwrap() / 1e3)
        .collect();
    let mut terminal = top(&target.pid(), &[], LARGE);
    terminal.press("t");
    wait_for_text(&mut terminal, "(since start)");
    let words = words(&terminal, "TcpTunnel.open");
    // Each latency is a number and its unit.
    let shown: Vec<f64> = (words.windows(2))
        .filter(|pair| pair[1] == "ms")
        .map(|pair| pair[0].parse().unwrap())
        .collect();
    assert_eq!((shown.len(), measured.len()), (3, 6), "{words:?}");
    let (at_least, at_most) = measured.split_at(3);
    for ((shown, at_least), at_most) in shown.into_iter().zip(at_least).zip(at_most) {
        // What is shown is cut, and the clocks of the two differ by up to 50 us.
        let cut = if shown < 10.0 { 0.1 } else { 1.0 };
        let bucket = at_least - 0.1 - cut..at_most * 1.045 + 0.1;
        assert!(bucket.contains(&shown), "{shown} is not in {bucket:?}");
    }
    assert_eq!(
        words.iter().filter(|word| *word == "200").count(),
        1,
        "{words:?}"
    );
    terminal.press("q");
    check_left(&terminal.finish());
}

/// Without a thread, it can take no keys.
#[test]
#[ignore = "needs root: changes its user"]
fn a_panic_gives_the_terminal_back_and_shows_its_message() {
    const USER: u32 = 54_321;
    let target = Fixture::start_as(USER, "busy");
    let tool = PublicCopy::of_tool();
    let threads = fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
    let limit = format!("--nproc={}", threads.count() + 1);
    let ids = ["--reuid", "--regid"].map(|id| format!("{id}={USER}"));
    let mut command = Command::new("prlimit");
    command
        .args([&limit, "setpriv"])
        .args(ids)
        .arg("--clear-groups");
    command
        .arg(&tool.program)
        .args(["top", "-p", &target.pid()]);
    let shown = Terminal::start(&command, USUAL).finish();
    assert_eq!(shown.status, 101, "{shown:?}");
    assert!(shown.is_restored, "{shown:?}");
    // Once, or the cursor would go back to where it was before the message.
    let parts: Vec<_> = shown.text.split("\u{1b}[?1049l").collect();
    assert_eq!(parts.len(), 2, "{shown:?}");
    assert!(parts[1].contains("failed to spawn thread"), "{shown:?}");
}

/// A load, ended when it is dropped.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn counts_are_those_of_the_load_itself() {
    let program = Path::new(env!("CARGO_BIN_EXE_roam-trace")).with_file_name("roam-load");
    assert!(
        program.exists(),
        "{} is missing: cargo build --workspace",
        program.display()
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = Log::open(&path).unwrap();
    log.run();
    let load = Command::new(program)
        .args([path.as_os_str(), "hold=3".as_ref()])
        .stdin(Stdio::null())
        .spawn()
        .map(Load)
        .unwrap();
    wait_until("requests", || log.ended().done > 100);
    let mut terminal = top(&load.0.id().to_string(), &[], LARGE);
    wait_for_text(&mut terminal, "Load.work");
    wait_until("more requests", || log.ended().done > 1_000);
    log.pause();
    wait_until("the pause", || log.is_paused());
    terminal.press("t");
    let ended = log.ended();
    assert_eq!(ended.done, ended.begun);
    let count = ended.done.to_string();
    terminal.wait_for_screen("the count", |screen| {
        let contents = screen.contents();
        let mut lines = contents.lines().filter(|line| line.contains("Load.work"));
        lines.any(|line| {
            let mut words = line.split_ascii_whitespace();
            // The rate, and what is in flight.
            words.next() == Some("0.0")
                && words.next() == Some("3")
                && words.any(|word| word == count)
        })
    });
    terminal.press("q");
    check_left(&terminal.finish());
}
