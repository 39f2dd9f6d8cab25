//! What is watched: a load with a log of its own, and one that makes requests on order.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;

use roam_load::Log;
use tempfile::TempDir;

use crate::watchdog::Watchdog;
use crate::watching::{DEADLINE, wait_for};

fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_roam-trace")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace",
        path.display()
    );
    path
}

/// A load that logs what it does, ended when it is dropped.
pub(crate) struct Load {
    child: Child,
    pub(crate) log: &'static Log,
    _directory: TempDir,
}

impl Load {
    /// Starts a load that is paused. `words` are those of `roam-load`.
    pub(crate) fn start(words: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log");
        let log = Log::open(&path).unwrap();
        let child = Command::new(binary("roam-load"))
            .arg(&path)
            .args(words)
            .spawn()
            .unwrap();
        wait_for("the load to be ready", || {
            log.pid.load(Ordering::Acquire) != 0
        });
        Self {
            child,
            log,
            _directory: directory,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs the load until so many requests more have ended, and pauses it: from now on its log is exact.
    pub(crate) fn run(&self, requests: u64) {
        let before = self.log.ended().done;
        self.log.run();
        wait_for("requests", || self.log.ended().done >= before + requests);
        self.log.pause();
        wait_for("the load to pause", || self.log.is_paused());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A load that does what it is told, ended when it is dropped.
pub(crate) struct Orders {
    child: Child,
    /// `None` once it is to exit.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    _watchdog: Watchdog,
}

impl Orders {
    /// Starts it with this value of `ROAM_DIAGNOSTIC`.
    pub(crate) fn start(diagnostic: &str) -> Self {
        let mut child = Command::new(binary("roam-load-orders"))
            .env("ROAM_DIAGNOSTIC", diagnostic)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut orders = Self {
            _watchdog: Watchdog::of(&child, DEADLINE),
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(orders.answer(), "ready");
        orders
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has an order carried out, and returns the answer.
    pub(crate) fn order(&mut self, order: &str) -> String {
        writeln!(self.orders.as_ref().unwrap(), "{order}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Has it exit by itself.
    pub(crate) fn exit(mut self) {
        self.orders = None;
        self.child.wait().unwrap();
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
