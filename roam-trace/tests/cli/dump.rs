//! `roam-trace -p` on registries.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::Fixture;
use crate::run::watchdog::Watchdog;
use crate::run::{DEADLINE, Run, command, roam_trace, run};
use crate::verdicts::with_verdicts;

/// The processes of a JSON dump.
pub(crate) fn processes(run: &Run) -> Vec<Value> {
    let dump = with_verdicts(serde_json::from_str(&run.stdout).expect(&run.stderr));
    dump["processes"].as_array().unwrap().clone()
}

/// How many rows each list of a process has.
fn counts(process: &Value) -> [usize; 3] {
    ["requests", "channels", "connections"].map(|list| process[list].as_array().unwrap().len())
}

#[test]
fn hung_process() {
    let target = Fixture::start("hang").until_stuck();
    let run = roam_trace(&["-p", &target.pid()]);
    insta::assert_snapshot!(run.redacted(&[(&target.pid(), "[pid]")]));
}

#[test]
fn no_connection_yet() {
    let target = Fixture::start("idle");
    let run = roam_trace(&["-p", &target.pid()]);
    insta::assert_snapshot!(run.redacted(&[(&target.pid(), "[pid]")]));
}

#[test]
fn several_processes_and_one_that_is_none() {
    let (a, b) = (Fixture::start("hang"), Fixture::start("hang"));
    let run = roam_trace(&[
        "-p",
        &a.pid(),
        "-p",
        "2147483647",
        "-p",
        &b.pid(),
        "-p",
        &a.pid(),
        "--json",
    ]);
    let pids: Vec<_> = processes(&run)
        .iter()
        .map(|row| row["process"]["pid"].to_string())
        .collect();
    assert_eq!(pids, [a.pid(), b.pid()]);
    assert_eq!(
        run.stderr,
        "roam-trace: cannot read process 2147483647: it does not exist; `roam-trace list` shows the processes that can be read\n"
    );
    assert_eq!(run.status, 1);
}

#[test]
fn a_thread_stands_for_its_process() {
    let target = Fixture::start("hang");
    let pid = target.pid();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let thread = threads
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|thread| *thread != pid)
        .unwrap();
    let run = roam_trace(&["-p", &thread, "-p", &pid, "--json"]);
    let pids: Vec<_> = processes(&run)
        .iter()
        .map(|row| row["process"]["pid"].to_string())
        .collect();
    assert_eq!(pids, [pid]);
}

#[test]
fn rows_of_several_registries_stay_apart() {
    let target = Fixture::start("two");
    let run = roam_trace(&["-p", &target.pid(), "--json"]);
    let process = &processes(&run)[0];
    assert_eq!(counts(process), [4, 2, 2]);
    let serials = |list: &str, field: &str| {
        let rows = process[list].as_array().unwrap().iter();
        let mut serials: Vec<_> = rows.map(|row| row[field].to_string()).collect();
        serials.sort();
        serials.dedup();
        serials
    };
    assert_eq!(serials("requests", "serial").len(), 4);
    assert_eq!(
        serials("requests", "connection"),
        serials("connections", "serial")
    );
    assert_eq!(serials("channels", "request").len(), 2);
}

#[test]
fn young_rows_can_be_left_out() {
    let target = Fixture::start("hang");
    let of_age = |age: &str| {
        let run = roam_trace(&["-p", &target.pid(), "--json", "--min-age", age]);
        counts(&processes(&run)[0])
    };
    assert_eq!(of_age("0s"), [2, 1, 1]);
    assert_eq!(of_age("1h"), [0, 0, 1]);
}

#[test]
fn colour_only_where_it_is_wanted() {
    let target = Fixture::start("hang");
    let pid = target.pid();
    let is_coloured = |mut command: Command, variable: Option<&str>| {
        command.envs(variable.map(|variable| (variable, "1")));
        run(command).stdout.contains('\u{1b}')
    };
    assert!(!is_coloured(command(&["-p", &pid]), None));
    assert!(is_coloured(
        command(&["-p", &pid, "--color", "always"]),
        None
    ));
    assert!(is_coloured(
        command(&["-p", &pid, "--color", "always"]),
        Some("NO_COLOR")
    ));
    assert!(!is_coloured(
        command(&["-p", &pid, "--color", "never"]),
        Some("CLICOLOR_FORCE")
    ));
    assert!(!is_coloured(command(&["-p", &pid]), Some("NO_COLOR")));
}

#[test]
fn verbose_lines_go_to_stderr() {
    let target = Fixture::start("hang").until_stuck();
    let quiet = roam_trace(&["-p", &target.pid(), "--source", "registry"]);
    let verbose = roam_trace(&["-p", &target.pid(), "-v"]);
    assert_eq!(quiet.stderr, "");
    assert!(verbose.stderr.contains("registries"), "{}", verbose.stderr);
    assert_eq!(verbose.stdout.lines().count(), quiet.stdout.lines().count());
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let target = Fixture::start("requests 20000");
    for arguments in [&["-p", &target.pid()][..], &["-p", &target.pid(), "--json"]] {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let _watchdog = Watchdog::of(&child, DEADLINE);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn a_full_disk_is_a_failure() {
    let target = Fixture::start("hang");
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command(&["-p", &target.pid()])
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.starts_with("roam-trace: ") && stderr.contains("No space left"),
        "{stderr}"
    );
}

#[test]
#[ignore = "needs root: follows a mapping"]
fn registry_whose_descriptor_was_closed() {
    let target = Fixture::start("closed");
    let run = roam_trace(&["-p", &target.pid(), "--json"]);
    assert_eq!(counts(&processes(&run)[0]), [2, 1, 1]);
    assert_eq!(run.status, 0);
}

#[test]
#[ignore = "needs root: makes namespaces"]
fn process_in_other_namespaces() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--time", "--fork", "--kill-child", "--mount-proc"]);
    unshare.args(["--monotonic", "100000", "--boottime", "100000"]);
    unshare.arg(std::env::current_exe().unwrap());
    let target = Fixture::start_by(unshare, "hang");
    let run = roam_trace(&["-p", &target.inner_pid(), "--json"]);
    let process = &processes(&run)[0];
    assert_eq!(counts(process), [2, 1, 1]);
    for row in process["requests"].as_array().unwrap() {
        assert!(row["age_us"].as_u64().unwrap() < 60_000_000, "{row}");
    }
}

#[test]
fn json_is_compact_unless_it_is_to_be_read_by_people() {
    let target = Fixture::start("hang").until_stuck();
    let lines = |arguments: &[&str]| {
        let run = roam_trace(&[&["-p", &*target.pid()], arguments].concat());
        assert_eq!((run.status, &*run.stderr), (0, ""));
        run.stdout.lines().count()
    };
    assert_eq!(lines(&["--json"]), 1);
    assert!(lines(&["--json", "--pretty"]) > 50);
}

#[test]
fn a_verdict_stands_once_in_the_json() {
    let target = Fixture::start("requests 100").until_stuck();
    let run = roam_trace(&["-p", &target.pid(), "--json"]);
    let dump: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(dump["verdicts"].as_array().unwrap().len(), 1);
    let requests = dump["processes"][0]["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 100);
    assert!(requests.iter().all(|row| row["verdict"] == 0));
    let nodes = dump["graph"]["nodes"].as_array().unwrap();
    let serial = &dump["processes"][0]["requests"][0]["serial"];
    assert!(nodes.iter().any(|node| node["serial"] == *serial));
}
