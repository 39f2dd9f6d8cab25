//! A running demo.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use roam_demo::expect::Ready;
use tempfile::TempDir;

use crate::dump::wait_for;
use crate::patience;
use crate::tracer::watchdog::Watchdog;

/// Longer than any test needs a demo.
const LIFETIME: Duration = Duration::from_secs(300);

/// A demo that was started and may not be stuck yet.
pub(crate) struct Demo {
    child: Child,
    _watchdog: Watchdog,
    pub(crate) directory: TempDir,
}

/// A demo that has said what it does.
pub(crate) struct ReadyDemo {
    _demo: Demo,
    pub(crate) ready: Ready,
    pub(crate) stderr: PathBuf,
}

/// The binary that cargo built beside the tracer.
pub(crate) fn binary(name: &str) -> PathBuf {
    let tracer = PathBuf::from(env!("CARGO_BIN_EXE_roam-trace"));
    let path = tracer.with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace",
        path.display()
    );
    path
}

impl Demo {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let two_cells = [&["--cells", "2"], arguments].concat();
        Self::with(|_| {}, &two_cells)
    }

    /// The same with a command that `configure` changes; it logs to `log` in the demo's directory.
    pub(crate) fn with(configure: impl FnOnce(&mut Command), arguments: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let stderr = directory.path().join("stderr");
        let mut command = Command::new(binary("roam-demo"));
        configure(&mut command);
        let child = command
            .args(["host", "--cell-stderr"])
            .arg(&stderr)
            .arg("--log")
            .arg(directory.path().join("log"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(stderr.with_extension("0")).unwrap())
            .spawn()
            .unwrap();
        Self {
            _watchdog: Watchdog::of(&child, LIFETIME),
            child,
            directory,
        }
    }

    /// Waits until it is stuck.
    pub(crate) fn ready(mut self) -> ReadyDemo {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).expect("the demo's ready line");
        let stderr = self.directory.path().join("stderr");
        ReadyDemo {
            _demo: self,
            ready,
            stderr,
        }
    }

    /// Host and cells, before they are ready.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let host = self.child.id();
        let mut pids = Vec::new();
        wait_for("two cells", || {
            pids = children(host);
            pids.len() == 2
                && pids
                    .iter()
                    .all(|&pid| maps(pid).contains("/memfd:roam-diagnostic"))
        });
        pids.insert(0, host);
        pids
    }
}

impl ReadyDemo {
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.ready.host];
        pids.extend(&self.ready.cells);
        pids
    }

    /// Where a process writes its dumps.
    pub(crate) fn stderr_of(&self, pid: u32) -> PathBuf {
        let number = self.pids().iter().position(|&known| known == pid).unwrap();
        self.stderr.with_extension(number.to_string())
    }

    /// Lets the expected rows grow older than the second that distinguishes them from background traffic.
    pub(crate) fn wait_until_background_is_young(&self) {
        thread::sleep(Duration::from_millis(1_300) * patience());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn maps(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default()
}

fn children(pid: u32) -> Vec<u32> {
    let mut pids: Vec<u32> = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|children| {
            children
                .split_ascii_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    pids.sort_unstable();
    pids
}
