//! A target for tracers: makes requests at a steady rate, by [`roam_diagnostic::registry`] as a session
//! would, and logs what it did. What it does besides is in [`act`].
//!
//! Never looks at whether it is traced.

mod act;
mod log;
mod orders;
mod work;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use act::{CONNECTIONS, FLOOD};
pub use log::{Count, Log, MAX_THREADS, STORM, ThreadLog};
pub use orders::run_orders;

/// What the load is told on its command line, as `KEY=VALUE` words behind the name of its log.
#[derive(Debug, Default)]
struct Options {
    /// `threads=N` that make requests.
    threads: usize,
    /// `hold=N` requests that never end.
    hold: u64,
    /// `act=WHAT`, when the log says so.
    act: Option<String>,
    /// `execs=N` times it executes itself again after a while.
    execs: u32,
    /// `start=daemon`: as a daemon that closes all its descriptors.
    is_daemon: bool,
    /// `region=VERSION`: publishes a registry of another ABI version beside its own.
    other_version: Option<u32>,
}

impl Options {
    fn parse(words: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            threads: 2,
            ..Self::default()
        };
        for word in words {
            let (key, value) = word.split_once('=').expect("KEY=VALUE");
            match key {
                "threads" => options.threads = value.parse().expect("a number of threads"),
                "hold" => options.hold = value.parse().expect("a number of requests"),
                "act" => options.act = Some(value.to_owned()),
                "execs" => options.execs = value.parse().expect("a number of times"),
                "start" => options.is_daemon = value == "daemon",
                "region" => options.other_version = Some(value.parse().expect("a version")),
                _ => panic!("unknown word {word}"),
            }
        }
        options
    }
}

/// How long the program runs before it executes itself again.
const EXEC_AFTER: Duration = Duration::from_millis(30);

/// The whole program.
///
/// # Panics
///
/// Where its command line makes no sense or the system refuses something.
pub fn run() {
    let mut words = std::env::args().skip(1).peekable();
    while words.next_if(|word| word.ends_with(".so")).is_some() {}
    let path = words.next().expect("the name of a log");
    let options = Options::parse(words);
    let log = Log::open(Path::new(&path)).expect("the log");
    if options.is_daemon {
        act::become_daemon();
    }
    let connection = work::open();
    work::hold(connection, options.hold);
    if let Some(version) = options.other_version {
        act::publish_other_version(version);
    }
    if options.is_daemon {
        act::close_descriptors();
    }
    // There may be another load in this process.
    let first = log
        .threads
        .fetch_add(options.threads as u32, Ordering::AcqRel) as usize;
    for thread in first..first + options.threads {
        std::thread::spawn(move || work::run(log, connection, thread));
    }
    log.pid.store(std::process::id(), Ordering::Release);
    let mut children = Vec::new();
    let started = Instant::now();
    while log.quit.load(Ordering::Acquire) == 0 {
        let acted = log.acted.load(Ordering::Acquire);
        if let Some(act) = &options.act
            && log.act.load(Ordering::Acquire) > acted
        {
            children.extend(act::act(act, log, connection, &path));
            log.acted.store(acted + 1, Ordering::Release);
        }
        std::thread::sleep(Duration::from_millis(1));
        if options.execs > 0 && started.elapsed() > EXEC_AFTER {
            act::exec_again(log, &path, options.execs - 1);
        }
    }
    children.into_iter().for_each(act::collect);
}
