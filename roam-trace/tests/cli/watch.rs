//! `roam-trace -d` on a real kernel.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::dump::processes;
use crate::fixture::Fixture;
use crate::run::watchdog::Watchdog;
use crate::run::{DEADLINE, command, roam_trace, roam_trace_as};

fn list<'a>(process: &'a Value, name: &str) -> &'a [Value] {
    process[name].as_array().unwrap()
}

/// Started and ended requests of a connection in the window.
fn window(process: &Value, connection: &str) -> (u64, u64) {
    let rows = process["window"]["connections"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["connection_name"] == connection)
        .unwrap();
    (
        row["started"].as_u64().unwrap(),
        row["ended"].as_u64().unwrap(),
    )
}

#[test]
#[ignore = "needs root"]
fn stalled_and_busy_connections_differ() {
    let target = Fixture::start("busy");
    let run = roam_trace(&["-p", &target.pid(), "-d", "300ms", "--json"]);
    assert_eq!((run.status, &*run.stderr), (0, ""));
    let process = &processes(&run)[0];
    assert_eq!(process["source"], "both");
    assert_eq!(process["gaps"], Value::Array(Vec::new()));
    let hung = list(process, "requests")
        .iter()
        .find(|row| row["request_id"] == 93)
        .unwrap();
    // No probe has seen it: it began before, and has not moved since.
    assert_eq!(hung["source"], "registry");
    // The youngest may have started when the kernel maps had been read already.
    let window_us = process["window"]["duration_us"].as_u64().unwrap();
    let watched = window_us / 2..window_us;
    let began: Vec<_> = list(process, "requests")
        .iter()
        .filter(|row| watched.contains(&row["age_us"].as_u64().unwrap()))
        .collect();
    assert!(!began.is_empty());
    assert!(
        began.iter().all(|row| row["source"] == "both"),
        "{began:#?}"
    );
    assert_eq!(window(process, "cell-http"), (0, 0));
    let (started, ended) = window(process, "cell-busy");
    assert!(
        started > 20 && ended > 20 && ended < started,
        "{started} {ended}"
    );
}

#[test]
#[ignore = "needs root"]
fn probes_alone() {
    let target = Fixture::start("busy");
    let run = roam_trace(&[
        "-p",
        &target.pid(),
        "-d",
        "300ms",
        "--source",
        "probes",
        "--json",
    ]);
    assert_eq!((run.status, &*run.stderr), (0, ""));
    let process = &processes(&run)[0];
    assert_eq!(process["source"], "probes");
    assert_eq!(list(process, "gaps").len(), 2);
    let requests = list(process, "requests");
    assert!(requests.len() > 2);
    assert!(window(process, "cell-busy").0 > 20);
    for row in requests {
        assert_eq!(row["source"], "probes");
        assert_eq!(row["method"], "TcpTunnel.open");
        assert_eq!(row["connection_name"], "cell-busy");
        assert_eq!(row["phase"], "sent");
        assert!(
            row["age_us"].as_u64()
                <= process["window"]["duration_us"]
                    .as_u64()
                    .map(|us| us + 500_000)
        );
    }
}

#[test]
#[ignore = "needs root"]
fn probes_where_the_registry_is_private() {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -f 1000; exec \"$@\"", "sh"]);
    shell.arg(std::env::current_exe().unwrap());
    let target = Fixture::start_by(shell, "busy");
    let run = roam_trace(&["-p", &target.pid(), "-d", "300ms", "--json"]);
    assert_eq!((run.status, &*run.stderr), (0, ""));
    let process = &processes(&run)[0];
    assert_eq!(process["source"], "probes");
    assert_eq!(list(process, "gaps").len(), 1);
    let requests = list(process, "requests");
    assert!(requests.len() > 2);
    assert!(requests.iter().all(|row| row["method"] == Value::Null));
}

#[test]
#[ignore = "needs root"]
fn the_kernel_side_speaks_with_verbose() {
    let target = Fixture::start("busy");
    let run = roam_trace(&["-p", &target.pid(), "-d", "300ms", "-v"]);
    let line = format!("roam-trace: eBPF: first event of process {}", target.pid());
    assert!(run.stderr.contains(&line), "{}", run.stderr);
}

#[test]
#[ignore = "needs root: changes its user"]
fn registry_is_dumped_without_the_privilege_to_watch() {
    let target = Fixture::start_as(65534, "hang").until_stuck();
    let run = roam_trace_as(65534, &["-p", &target.pid(), "-d", "100ms"]);
    insta::assert_snapshot!(run.redacted(&[(&target.pid(), "[pid]")]));
}

#[test]
#[ignore = "needs root"]
fn a_process_that_ends_ends_the_watch() {
    let mut target = Fixture::start("hang");
    let pid = target.pid();
    let mut tool = command(&["-p", &pid, "-d", "1h", "-v"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::of(&tool, DEADLINE);
    let mut lines = BufReader::new(tool.stderr.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("counting requests"));
    target.kill_and_collect();
    let last = lines.last().unwrap().unwrap();
    assert_eq!(
        last,
        format!(
            "roam-trace: cannot dump process {pid}: it ended while its probes were attached, after 0 requests started and 0 requests ended"
        )
    );
    let output = tool.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
}
