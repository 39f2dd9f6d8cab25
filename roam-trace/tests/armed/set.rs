//! A set of pins of a test's own, and the tool that uses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use roam_load::Log;
use serde_json::Value;
use tempfile::TempDir;

use crate::watchdog::Watchdog;

/// Deadline of everything that is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

const PINS: &str = "ROAM_TRACE_PINS";

static SETS: AtomicU32 = AtomicU32::new(0);

/// A set of pins, disarmed when it is dropped.
pub(crate) struct Set {
    pub(crate) pins: PathBuf,
    pub(crate) directory: TempDir,
}

/// How the tool ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Set {
    pub(crate) fn new() -> Self {
        let number = SETS.fetch_add(1, Ordering::Relaxed);
        let name = format!("roam-trace-test-{}-{number}", std::process::id());
        Self {
            pins: Path::new("/sys/fs/bpf").join(name),
            directory: TempDir::new().unwrap(),
        }
    }

    /// A program that makes requests, as a file of the test's own.
    pub(crate) fn program(&self) -> PathBuf {
        let path = self.directory.path().join("roam-load");
        install(&path);
        path
    }

    pub(crate) fn tool(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roam-trace"));
        command.env(PINS, &self.pins).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        run(self.tool().args(arguments))
    }

    pub(crate) fn arm(&self, program: &Path) {
        let run = self.run(&["arm", "--exe", program.to_str().unwrap()]);
        assert_eq!((run.status, &*run.stderr), (0, ""), "{run:?}");
    }

    /// What `armed --json` says.
    pub(crate) fn armed(&self) -> Value {
        let run = self.run(&["armed", "--json"]);
        assert_eq!((run.status, &*run.stderr), (0, ""), "{run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// Rows in a map.
    pub(crate) fn rows(&self, map: &str) -> u64 {
        let armed = self.armed();
        let maps = armed["maps"].as_array().unwrap();
        let map = maps.iter().find(|row| row["map"] == map).unwrap();
        map["rows"].as_u64().unwrap()
    }

    /// The only process of a dump.
    pub(crate) fn dump(&self, pid: u32, arguments: &[&str]) -> Value {
        let pid = pid.to_string();
        let run = run(self.tool().args(["-p", &pid, "--json"]).args(arguments));
        assert_eq!(run.status, 0, "{run:?}");
        let mut dump: Value = serde_json::from_str(&run.stdout).unwrap();
        dump["processes"][0].take()
    }

    /// `arm --watch`, once it has armed.
    pub(crate) fn watch(&self, program: &Path) -> Running {
        let mut command = self.tool();
        command
            .args(["arm", "--watch", "--exe"])
            .arg(program)
            .stdout(Stdio::null());
        let running = Running(command.spawn().unwrap());
        wait_for("it is armed", || {
            let run = self.run(&["armed", "--json"]);
            run.status == 0 && run.stdout.contains("roam-load")
        });
        running
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        if self.pins.exists() {
            let run = self.run(&["disarm"]);
            if !thread::panicking() {
                assert_eq!(run.status, 0, "{run:?}");
            }
        }
    }
}

/// A process that is killed when it is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that makes requests.
pub(crate) struct Load {
    pub(crate) running: Running,
    pub(crate) pid: u32,
    pub(crate) log: &'static Log,
    _directory: TempDir,
}

impl Load {
    /// Starts it. `words` are those of `roam-load`.
    pub(crate) fn start(program: &Path, words: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log");
        let log = Log::open(&path).unwrap();
        let mut command = Command::new(program);
        let child = command
            .arg(&path)
            .args(words)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let load = Self {
            pid: child.id(),
            running: Running(child),
            log,
            _directory: directory,
        };
        wait_for("the load is ready", || {
            load.log.pid.load(Ordering::Acquire) != 0
        });
        load
    }

    /// Has it do its act.
    pub(crate) fn act(&self) {
        self.log.act.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn kill(&mut self) {
        self.running.0.kill().unwrap();
        self.running.0.wait().unwrap();
    }
}

/// Puts another file with the same program at a path, as package managers do.
pub(crate) fn install(path: &Path) {
    let built = Path::new(env!("CARGO_BIN_EXE_roam-trace")).with_file_name("roam-load");
    let new = path.with_extension("new");
    fs::copy(built, &new).unwrap();
    fs::rename(&new, path).unwrap();
}

pub(crate) fn run(command: &mut Command) -> Run {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::of(&child, DEADLINE);
    let output = child.wait_with_output().unwrap();
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The gaps of a process.
pub(crate) fn gaps(process: &Value) -> Vec<String> {
    let gaps = process["gaps"].as_array().unwrap().iter();
    gaps.map(|gap| gap["text"].as_str().map_or(gap.to_string(), str::to_owned))
        .collect()
}

/// The sources of the requests of a process.
pub(crate) fn sources(process: &Value) -> Vec<&str> {
    let requests = process["requests"].as_array().unwrap().iter();
    // A row of the registry alone does not name its source.
    requests
        .map(|row| row["source"].as_str().unwrap_or("registry"))
        .collect()
}
