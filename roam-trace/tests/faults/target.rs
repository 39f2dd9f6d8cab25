//! The process that is traced: a load, whose log says what happened, and a second process of the same
//! binary, in which nothing may ever be attached.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

use roam_load::Log;
use roam_trace::attach::{Method, PidFilter};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use crate::attached;
use crate::seen::Seen;
use crate::tracer::{Tracer, wait_for};

/// Requests that a load makes before what is to happen happens, and afterwards.
const SOME_REQUESTS: u64 = 500;

/// A load that runs, ended when it is dropped.
pub(crate) struct Target {
    child: Child,
    /// Of the process that makes the requests, as this process sees it.
    pub(crate) pid: u32,
    pub(crate) log: &'static Log,
    pub(crate) directory: TempDir,
    /// Runs the same binary, and nobody watches it.
    bystander: Option<Box<Self>>,
    is_collected: bool,
}

/// A binary that cargo built beside the tracer.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_roam-trace")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace",
        path.display()
    );
    path
}

impl Target {
    /// Starts a load that is paused. `words` are those of `roam-load`.
    pub(crate) fn start(words: &[&str]) -> Self {
        let plain = |_: &Path| Command::new(binary("roam-load"));
        let mut target = Self::start_by(plain, words);
        target.bystander = Some(Box::new(Self::start_by(plain, &["threads=1"])));
        target
    }

    /// The same by a command that ends with the program. It is made in a directory of the target's own,
    /// where the program's log is.
    pub(crate) fn start_by(command: impl FnOnce(&Path) -> Command, words: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log");
        let log = Log::open(&path).unwrap();
        let mut command = command(directory.path());
        let child = command
            .arg(&path)
            .args(words)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut target = Self {
            pid: child.id(),
            child,
            log,
            directory,
            bystander: None,
            is_collected: false,
        };
        target.pid = wait_for_ready(log, &path);
        target
    }

    /// A tracer that watches it.
    pub(crate) fn trace(&self) -> Tracer {
        self.watched_by(Tracer::start(&[self.pid], WATCH))
    }

    /// Waits until a tracer watches it. What is looked for afterwards, that nothing is attached, can be seen
    /// now.
    pub(crate) fn watched_by(&self, tracer: Tracer) -> Tracer {
        let tracer = watching(tracer);
        let sites = attached::sites(self.pid).unwrap();
        assert_eq!(sites.changed, sites.all);
        if Method::detect().unwrap().pid_filter() == PidFilter::Kernel {
            assert!(attached::links() > 0);
        }
        tracer
    }

    /// Runs the load for some requests.
    pub(crate) fn run(&self) {
        self.log.run();
        let before = self.log.ended().done;
        wait_for("some requests", || {
            self.log.ended().done >= before + SOME_REQUESTS
        });
    }

    /// Pauses the load; from now on its log is exact.
    pub(crate) fn pause(&self) {
        self.log.pause();
        wait_for("the load to pause", || self.log.is_paused());
        let (started, ended) = (self.log.started(), self.log.ended());
        assert_eq!((started.done, ended.done), (started.begun, ended.begun));
    }

    /// Has it do what it was started for, and waits until it has.
    pub(crate) fn act(&self) {
        let before = self.log.acted.load(Ordering::Acquire);
        self.tell_to_act();
        wait_for("the program to act", || {
            self.log.acted.load(Ordering::Acquire) > before
        });
    }

    /// Has it do what it was started for, which ends it.
    pub(crate) fn tell_to_act(&self) {
        self.log.act.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.pid as i32).unwrap()
    }

    /// Collects the program, which has ended or is about to. Its pid is anybody's from now on.
    pub(crate) fn collect(&mut self) {
        self.ended();
    }

    /// Has the program end by itself, which it must be able to.
    pub(crate) fn quit(mut self) {
        self.log.quit.store(1, Ordering::Release);
        assert!(self.ended().success());
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the program to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.is_collected = true;
        status.unwrap()
    }

    /// The process is alive and as it was: nothing is attached to it, and what it worked out is right.
    pub(crate) fn check_untouched(&self) {
        self.check_sites();
        self.check_results();
    }

    /// The end of a test: the process is as it was, and nothing is left of it.
    pub(crate) fn end(self) {
        self.check_untouched();
        drop(self);
        check_no_zombies();
    }

    /// The end of a test in which the tracer's counts are to be exact.
    pub(crate) fn end_as(self, seen: &Seen) {
        assert_eq!(seen.status, Some(0), "{seen:#?}");
        self.check_counts(seen);
        self.end();
    }

    /// Nothing is attached to it.
    pub(crate) fn check_sites(&self) {
        let mut sites = attached::sites(self.pid).unwrap();
        wait_for("the probes to be gone", || {
            sites = attached::sites(self.pid).unwrap();
            sites.changed == 0
        });
        assert!(sites.all > 0);
    }

    /// What it worked out is right, whether it lives or not, and nothing of the tracer's is left.
    pub(crate) fn check_results(&self) {
        if let Some(bystander) = &self.bystander {
            bystander.check_sites();
        }
        wait_for("no link to be left", || attached::links() == 0);
        assert!(self.log.results_are_right());
        assert!(self.log.ended().done > 0);
    }

    /// What a tracer saw that watched from one pause to the next is what the log says, and it lost nothing.
    pub(crate) fn check_counts(&self, seen: &Seen) {
        assert_eq!(seen.gaps(), Vec::<String>::new());
        self.check_counts_with_gaps(seen);
    }

    /// The same where the dump has gaps of another kind.
    pub(crate) fn check_counts_with_gaps(&self, seen: &Seen) {
        let counts = (self.log.started().done, self.log.ended().done);
        assert!(counts.0 > 0);
        assert_eq!(seen.counts(), counts);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.log.quit.store(1, Ordering::Release);
        if self.is_collected {
            return;
        }
        let _ = kill_process(self.pid(), Signal::CONT);
        // A wrapper such as unshare ends with what it started.
        let _ = kill_process(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// How a tracer watches until it is interrupted.
pub(crate) const WATCH: &[&str] = &["-v", "-d", "1h"];

/// Waits until a tracer watches.
pub(crate) fn watching(mut tracer: Tracer) -> Tracer {
    tracer.wait_for_line("counting requests");
    tracer
}

/// Waits until a load is ready, and returns its pid as this process sees it.
fn wait_for_ready(log: &Log, path: &Path) -> u32 {
    wait_for("the load to be ready", || {
        log.pid.load(Ordering::Acquire) != 0
    });
    let inode = fs::metadata(path).unwrap().ino();
    mapped_by(inode).expect("a process that maps the log")
}

/// The process, other than this one, that maps a file for writing.
fn mapped_by(inode: u64) -> Option<u32> {
    let inode = format!(" {inode} ");
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != std::process::id())
        .find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| {
                maps.lines()
                    .any(|line| line.contains(" rw-s ") && line.contains(&inode))
            })
        })
}

/// This process has no child that it did not collect, and the tracers had none.
pub(crate) fn check_no_zombies() {
    let waited = waitpid(None, WaitOptions::NOHANG);
    assert_eq!(waited.err(), Some(rustix::io::Errno::CHILD));
}
