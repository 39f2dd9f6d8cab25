//! A target for tracers: makes requests at a steady rate through [`roam_diagnostic::registry`], as a session
//! would, and logs them. [`act`] has what it can do besides. It does not check whether it is traced.

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

/// The arguments behind the name of the log, each `KEY=VALUE`.
#[derive(Debug, Default)]
struct Options {
    /// `threads=N`: threads that make requests.
    threads: usize,
    /// `latency_us=N`: microseconds that a request takes; they are short without.
    latency: Option<Duration>,
    /// `hold=N`: requests that never end.
    hold: u64,
    /// `act=WHAT`: what to do when the log asks for it.
    act: Option<String>,
    /// `execs=N`: how often the program executes itself again.
    execs: u32,
    /// `start=daemon`: run as a daemon with all descriptors closed.
    is_daemon: bool,
    /// `region=VERSION`: publish a second registry, of that ABI version.
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
                "latency_us" => {
                    let micros = value.parse().expect("a number of microseconds");
                    options.latency = Some(Duration::from_micros(micros));
                }
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
/// On a usage error, or if a system call fails.
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
        std::thread::spawn(move || work::run(log, connection, thread, options.latency));
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
