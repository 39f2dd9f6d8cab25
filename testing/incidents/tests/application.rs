//! Starts the application and asks `/proc` whether what it logs is so, and whether it ends with what started it.

#[path = "../../watchdog.rs"]
mod watchdog;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use watchdog::Watchdog;

/// Longer than any test needs the application.
const LIFETIME: Duration = Duration::from_secs(120);
const DEADLINE: Duration = Duration::from_secs(20);

struct Application {
    _watchdog: Watchdog,
    supervisor: Child,
    output: BufReader<ChildStdout>,
    pids: BTreeMap<String, u32>,
    directory: TempDir,
}

impl Application {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut supervisor = Command::new(env!("CARGO_BIN_EXE_roam-incidents"))
            .args(["run", "--directory"])
            .arg(directory.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the application starts");
        let watchdog = Watchdog::of(&supervisor, LIFETIME);
        let output = BufReader::new(supervisor.stdout.take().expect("piped"));
        let mut application = Self {
            _watchdog: watchdog,
            supervisor,
            output,
            pids: BTreeMap::new(),
            directory,
        };
        let ready = application.answer();
        assert!(ready["took_ms"].as_u64() < Some(3_000), "{ready}");
        for (name, pid) in ready["ready"].as_object().expect("processes") {
            let pid = pid.as_u64().expect("a pid") as u32;
            application.pids.insert(name.clone(), pid);
        }
        application
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    fn order(&mut self, order: &str) -> Value {
        let stdin = self.supervisor.stdin.as_mut().expect("piped");
        writeln!(stdin, "{order}").expect("it listens");
        self.answer()
    }

    fn log(&self, process: &str, kind: &str) -> String {
        let name = format!("{}.{kind}", self.pids[process]);
        let bytes = fs::read(self.directory.path().join(name)).expect("a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn wait_for_end(&self) {
        let deadline = Instant::now() + DEADLINE;
        for pid in self.pids.values() {
            let stat = Path::new("/proc").join(pid.to_string()).join("stat");
            // A process that nobody has collected yet is gone as well.
            while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                assert!(Instant::now() < deadline, "process {pid} runs on");
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

#[test]
fn both_ends_of_a_connection_agree_with_proc() {
    let application = Application::start(&[]);
    let mut ends = BTreeMap::new();
    for (process, &pid) in &application.pids {
        for line in application.log(process, "connections").lines() {
            let line: Value = serde_json::from_str(line).expect("a whole line");
            let link = fs::read_link(format!("/proc/{pid}/fd/{}", line["descriptor"]));
            let socket = format!("socket:[{}]", line["inode"]);
            assert_eq!(link.expect("a descriptor").to_string_lossy(), socket);
            let name = line["name"].as_str().expect("a name").to_owned();
            ends.insert((u64::from(pid), name), line);
        }
    }
    assert_eq!(ends.len(), 70);
    for ((pid, name), end) in &ends {
        let peer = end["peer_pid"].as_u64().expect("a pid");
        let peer_name = end["peer_name"].as_str().expect("a name").to_owned();
        let other = &ends[&(peer, peer_name)];
        assert_eq!(other["peer_pid"], *pid);
        assert_eq!(other["peer_name"], **name);
        assert_eq!(other["peer_inode"], end["inode"]);
        if end["via"] == "tcp" {
            assert_eq!(end["local"], other["remote"]);
        }
    }
}

#[test]
fn an_incident_takes_effect_and_is_logged() {
    let mut application = Application::start(&["--rate", "50"]);
    assert_eq!(
        application.order("plant handler-hangs")["planted"],
        "handler-hangs"
    );
    let running = |log: &str, method: &str| {
        let mut records = log.lines().map(|record| record.trim_start_matches('\0'));
        records.any(|record| record.contains(method) && record.contains("\tRunning\t"))
    };
    assert!(running(
        &application.log("catalog-2", "calls"),
        "true\tCatalog.price"
    ));
    assert!(running(
        &application.log("gateway", "calls"),
        "false\tCatalog.price"
    ));
    let failed = application.order("plant nothing");
    assert_eq!(failed["failed"], "no incident nothing");
    drop(application.supervisor.stdin.take());
    assert!(application.supervisor.wait().expect("it ends").success());
    application.wait_for_end();
}

#[test]
fn it_ends_with_a_supervisor_that_is_killed() {
    let mut application = Application::start(&[]);
    application.order("plant catalog-stopped");
    application.supervisor.kill().expect("it runs");
    application.wait_for_end();
}
