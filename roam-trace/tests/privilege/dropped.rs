//! What the tracer gives up: most of what it has once the probes are attached, the rest before it prints.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::run::watchdog::Watchdog;
use crate::run::{DEADLINE, PublicCopy, wait_until};
use crate::user::{OTHER, target, with_capabilities};

const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const CHECKPOINT_RESTORE: u64 = 1 << 40;

/// A number of each thread, as in `/proc/PID/status`; the main thread's first. A thread may end while this looks at it.
fn of_threads(tool: &Child, name: &str) -> Vec<u64> {
    let number = |directory: &Path| {
        let status = std::fs::read_to_string(directory.join("status")).ok()?;
        let value = (status.lines())
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap();
        Some(u64::from_str_radix(value.trim(), 16).unwrap())
    };
    let directory = PathBuf::from(format!("/proc/{}", tool.id()));
    let threads = std::fs::read_dir(directory.join("task")).unwrap();
    let mut numbers = vec![number(&directory).unwrap()];
    numbers.extend(threads.filter_map(|thread| number(&thread.unwrap().path())));
    numbers
}

/// The other threads may have less than the main one.
fn check_sets(tool: &Child, expected: u64) {
    for set in ["CapEff", "CapPrm"] {
        assert_eq!(of_threads(tool, set)[0], expected, "{set}");
    }
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        wait_until("no thread has more capabilities", || {
            of_threads(tool, set).iter().all(|has| has & !expected == 0)
        });
    }
    for has in of_threads(tool, "NoNewPrivs") {
        assert_eq!(has, 1);
    }
}

/// Starts the tool with all capabilities that there are and waits until it watches, which `line` shows.
fn watching(tool: &PublicCopy, arguments: &[&str], line: &str, user: u32) -> Child {
    let watch = tool.command(arguments);
    let mut tool = with_capabilities(&watch, user, "all")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(tool.stderr.as_mut().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    assert!(lines.any(|found| found == line), "it did not get so far");
    tool
}

fn interrupt(tool: &Child) {
    let pid = rustix::process::Pid::from_child(tool);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

fn check_watching(user: u32) {
    // So many rows that they do not fit into a pipe: printing them waits until they are read.
    let target = target("requests 2000");
    let copy = PublicCopy::of_tool();
    let arguments = ["-p", &target.pid(), "-d", "1h", "-v", "--json"];
    let mut tool = watching(&copy, &arguments, "roam-trace: counting requests", user);
    let _watchdog = Watchdog::of(&tool, DEADLINE);
    check_sets(&tool, DAC_READ_SEARCH | SYS_PTRACE | CHECKPOINT_RESTORE);
    interrupt(&tool);
    wait_until("it prints with no capability", || {
        of_threads(&tool, "CapEff")[0] == 0
    });
    check_sets(&tool, 0);
    let mut text = String::new();
    let mut stdout = tool.stdout.take().unwrap();
    stdout.read_to_string(&mut text).unwrap();
    assert!(tool.wait().unwrap().success());
    let dump: serde_json::Value = serde_json::from_str(&text).unwrap();
    let process = &dump["processes"][0];
    assert_eq!(process["source"], "both");
    assert_eq!(process["gaps"], serde_json::json!([]));
    assert_eq!(process["requests"].as_array().unwrap().len(), 2_000);
}

#[test]
#[ignore = "needs root"]
fn attach_privileges_are_dropped_before_watching_and_all_before_printing() {
    check_watching(0);
    check_watching(OTHER);
}

/// It reads names as long as it runs.
#[test]
#[ignore = "needs root"]
fn watch_keeps_what_reading_takes() {
    let target = target("requests 5");
    let copy = PublicCopy::of_tool();
    let arguments = ["watch", "-p", &target.pid(), "-v"];
    let mut tool = watching(&copy, &arguments, "roam-trace: watching 1 processes", OTHER);
    let _watchdog = Watchdog::of(&tool, DEADLINE);
    check_sets(&tool, DAC_READ_SEARCH | SYS_PTRACE | CHECKPOINT_RESTORE);
    interrupt(&tool);
    assert!(tool.wait().unwrap().success());
}

/// Opening it anew would take a capability, which is among those that are kept, but not for those who
/// have another in its place.
#[test]
#[ignore = "needs root"]
fn a_registry_without_descriptor_is_read_again_after_attaching() {
    let target = target("closed");
    let tool = PublicCopy::of_tool();
    let watch = tool.command(&["-p", &target.pid(), "-d", "20ms", "--json"]);
    let capabilities = "+sys_ptrace,+dac_read_search,+bpf,+perfmon,+sys_admin";
    let run = crate::run::run(with_capabilities(&watch, OTHER, capabilities));
    assert_eq!((run.status, &*run.stderr), (0, ""));
    assert!(run.stdout.contains("\"source\":\"both\""), "{}", run.stdout);
}
