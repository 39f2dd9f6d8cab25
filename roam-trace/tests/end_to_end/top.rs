//! `roam-trace top` on a demo.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::armed::Armed;
use crate::demo::{Demo, ReadyDemo, binary};
use crate::dump::{site_bytes, wait_for};
use crate::terminal::{Size, Terminal};
use crate::{HANG_AFTER, seconds};

const SIZE: Size = Size {
    rows: 40,
    columns: 160,
};

fn top(mut tool: Command, pids: &[u32], arguments: &[&str]) -> Terminal {
    tool.args(["top", "--interval", "100ms"]).args(arguments);
    for pid in pids {
        tool.args(["-p", &pid.to_string()]);
    }
    Terminal::start(&tool, SIZE)
}

fn plain() -> Command {
    Command::new(env!("CARGO_BIN_EXE_roam-trace"))
}

fn wait_for_text(terminal: &mut Terminal, text: &str) {
    terminal.wait_for_screen(text, |screen| screen.contents().contains(text));
}

/// Quits, and makes sure that the terminal is as it was.
fn quit(mut terminal: Terminal) {
    terminal.press("q");
    let shown = terminal.finish();
    assert_eq!((shown.status, shown.is_restored), (0, true), "{shown:?}");
}

/// The method that the chain of a hang ends in.
const LAST: &str = "Markdown.convert running";

fn check_chain(demo: &ReadyDemo, mut terminal: Terminal) {
    demo.wait_until_background_is_young();
    terminal.press("2");
    wait_for_text(&mut terminal, "handler_running");
    // All of the chain is as old.
    terminal.press("/demo-host\r");
    wait_for_text(&mut terminal, "/demo-host (");
    terminal.press("\r");
    wait_for_text(&mut terminal, "wait chain, root blocker last:");
    wait_for_text(&mut terminal, LAST);
    quit(terminal);
}

#[test]
fn top_shows_a_call_with_its_wait_chain() {
    let demo = Demo::start(&["--hang", "chain"]).ready();
    let terminal = top(plain(), &demo.pids(), &[]);
    check_chain(&demo, terminal);
}

#[test]
#[ignore = "needs root"]
fn top_with_probes_shows_calls_and_leaves_the_sites_as_they_were() {
    let demo = Demo::start(&["--hang", "handler", "--rate", "100"]).ready();
    let host = demo.ready.host;
    let before = site_bytes(host);
    assert!(!before.is_empty());
    for ending in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        let mut terminal = top(plain(), &demo.pids(), &["--source", "probes"]);
        wait_for_text(&mut terminal, "started before the probes were attached");
        assert_ne!(site_bytes(host), before);
        // Names and statistics are those of the registry.
        terminal.wait_for_screen("a rate", |screen| {
            let contents = screen.contents();
            contents.contains("ContentService.") && !contents.contains("calls/s → 0.0")
        });
        match ending {
            None => quit(terminal),
            Some(signal) => {
                let pid = Pid::from_raw(terminal.pid() as i32).unwrap();
                kill_process(pid, signal).unwrap();
                terminal.finish();
            }
        }
        wait_for("the probes to be gone", || site_bytes(host) == before);
    }
}

#[test]
#[ignore = "needs root and a kernel with uprobe_multi"]
fn top_reads_armed_probes_where_the_registry_has_no_requests() {
    let armed = Armed::arm(&binary("roam-demo"), "roam-trace-test-top").unwrap();
    let hang_after = seconds(HANG_AFTER);
    let demo = Demo::with(
        |command| {
            command.env("ROAM_DIAGNOSTIC", "probes");
        },
        &[
            "--cells",
            "2",
            "--hang",
            "chain",
            "--hang-after",
            &hang_after,
        ],
    );
    let demo = demo.ready();
    let terminal = top(armed.tool(), &demo.pids(), &[]);
    check_chain(&demo, terminal);
}

#[test]
#[ignore = "needs root"]
fn top_without_the_privilege_to_attach_says_so() {
    let demo = Demo::start(&["--hang", "handler"]).ready();
    let mut tool = Command::new("setpriv");
    tool.args(["--bounding-set=-bpf,-perfmon,-sys_admin", "--inh-caps=-all"]);
    tool.arg(env!("CARGO_BIN_EXE_roam-trace"));
    let shown = top(tool, &[demo.ready.host], &["--source", "probes"]).finish();
    assert_eq!((shown.status, shown.is_restored), (3, true), "{shown:?}");
    assert!(
        shown.text.contains("no permission to attach to the probes"),
        "{shown:?}"
    );
}
