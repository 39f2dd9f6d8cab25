//! A live view, and what it printed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jsonschema::Validator;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::watchdog::Watchdog;

/// Deadline of everything that is waited for, on an emulated processor too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Waits until `condition` holds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A live view at work.
pub(crate) struct Watching {
    child: Child,
    has_lost: Arc<AtomicBool>,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    _watchdog: Watchdog,
}

/// What it printed.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) events: Vec<Value>,
    pub(crate) stderr: String,
}

impl Watching {
    /// Starts `watch`, and waits until nothing is missed any more.
    pub(crate) fn start(pid: u32, arguments: &[&str]) -> Self {
        Self::start_as("watch", pid, arguments)
    }

    /// The same of another command.
    pub(crate) fn start_as(command: &str, pid: u32, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_roam-trace"))
            .args([command, "--json", "-v", "-p", &pid.to_string()])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let has_lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&has_lost);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            for line in stdout.lines().map_while(Result::ok) {
                text.push_str(&line);
                text.push('\n');
                flag.fetch_or(line.contains(r#""event":"lost""#), Ordering::Relaxed);
            }
            text
        });
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let watchdog = Watchdog::of(&child, DEADLINE);
        let mut said = String::new();
        while !said.contains("roam-trace: watching") && !said.contains("counting latencies") {
            let read = stderr.read_line(&mut said).unwrap();
            assert!(read > 0, "it ended: {said}");
        }
        let stderr = thread::spawn(move || {
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        Self {
            child,
            has_lost,
            stdout,
            stderr,
            _watchdog: watchdog,
        }
    }

    /// Whether it has printed that events were lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost.load(Ordering::Relaxed)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn stop(self) -> Seen {
        self.signal(Signal::INT);
        self.finish()
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> Seen {
        let (stdout, stderr) = self.output();
        let lines = stdout.lines();
        let events: Vec<_> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let schema = schema(include_str!("../../../docs/events.schema.json"));
        // All would take long.
        for event in events.iter().rev().take(100) {
            assert!(schema.is_valid(event), "{event:#}");
        }
        Seen { events, stderr }
    }

    /// Ends it as nothing else can.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn output(mut self) -> (String, String) {
        let stdout = self.stdout.join().unwrap();
        let stderr = self.stderr.join().unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {stderr}");
        (stdout, stderr)
    }
}

/// Ends `histogram`, and returns its report.
pub(crate) fn histogram(watching: Watching) -> Value {
    watching.signal(Signal::INT);
    let (stdout, _) = watching.output();
    let report = serde_json::from_str(&stdout).unwrap();
    let schema = schema(include_str!("../../../docs/histogram.schema.json"));
    assert!(schema.is_valid(&report), "{report:#}");
    report
}

fn schema(text: &str) -> Validator {
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

impl Seen {
    /// The events of that kind.
    pub(crate) fn of(&self, event: &str) -> Vec<&Value> {
        let events = self.events.iter();
        events.filter(|value| value["event"] == event).collect()
    }

    /// How many events were lost.
    pub(crate) fn lost(&self) -> u64 {
        let lost = self.of("lost").into_iter();
        lost.map(|lost| lost["count"].as_u64().unwrap()).sum()
    }
}
