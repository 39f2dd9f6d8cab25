//! A roam-trace that runs, as those see it who started it. Shared by the test programs that need one.

#[path = "../../../testing/watchdog.rs"]
pub(crate) mod watchdog;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use self::watchdog::Watchdog;

/// Deadline of everything that is waited for, on an emulated processor too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// A tracer that is running.
pub(crate) struct Tracer {
    child: Child,
    _watchdog: Watchdog,
    stderr: BufReader<ChildStderr>,
    /// What was read of stderr.
    said: String,
}

impl Tracer {
    pub(crate) fn start(pids: &[u32], arguments: &[&str]) -> Self {
        Self::start_by(
            Command::new(env!("CARGO_BIN_EXE_roam-trace")),
            pids,
            arguments,
        )
    }

    /// The same by a command that ends with the tracer.
    pub(crate) fn start_by(mut command: Command, pids: &[u32], arguments: &[&str]) -> Self {
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let mut child = command
            .arg("--json")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = String::new();
        Self {
            _watchdog: Watchdog::of(&child, DEADLINE),
            child,
            stderr,
            said,
        }
    }

    /// Waits until a line on standard error contains `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        loop {
            let start = self.said.len();
            let read = self.stderr.read_line(&mut self.said).unwrap();
            assert!(read > 0, "it ended without {text:?}: {}", self.said);
            if self.said[start..].contains(text) {
                return;
            }
        }
    }

    /// Waits until it has ended, and returns everything that it said.
    pub(crate) fn output(mut self) -> Output {
        // Both streams at the same time: either may fill its pipe.
        let stderr = thread::spawn(move || {
            while self.stderr.read_line(&mut self.said).unwrap() > 0 {}
            self.said
        });
        let mut output = self.child.wait_with_output().unwrap();
        output.stderr = stderr.join().unwrap().into_bytes();
        output
    }

    /// What Ctrl-C does to the tracer itself.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let mut pid = self.child.id();
        // A command that starts it in a pid namespace goes on as its parent.
        while let Some(child) = child_of(pid) {
            pid = child;
        }
        kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
    }

    /// Ends it as nothing else can, and returns what it had said.
    pub(crate) fn kill(mut self) -> Output {
        self.child.kill().unwrap();
        self.output()
    }
}

fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// Waits until `condition` holds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
