//! bpftrace on the same probes at the same time: a tracer that shares no code with ours.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::demo::{ReadyDemo, binary};
use crate::dump::{Tracer, site_bytes, wait_for};
use crate::tracer::DEADLINE;
use crate::tracer::watchdog::Watchdog;

const PROGRAM: &str = r#"
    usdt:DEMO:roam:request_start { @started[pid] = count(); }
    usdt:DEMO:roam:request_end { @ended[pid] = count(); }
"#;

/// Counts of requests by process: started, ended.
pub(crate) type Counts = BTreeMap<u32, (u64, u64)>;

/// What both tracers counted while the demo ran for as long as `run` takes. It is stopped while they
/// come and go, so that they see the same events.
pub(crate) fn count_together(demo: &ReadyDemo, run: impl FnOnce()) -> (Counts, Counts) {
    let stopped = Stopped::new(demo);
    let bpftrace = Bpftrace::start(demo);
    let mut tracer = Tracer::start(&demo.pids(), &["-v", "-d", "8s"]);
    tracer.wait_for_line("counting requests");
    drop(stopped);
    run();
    let stopped = Stopped::new(demo);
    let ours = tracer.finish();
    let theirs = bpftrace.finish();
    drop(stopped);
    let ours = ours
        .processes()
        .map(|process| {
            let pid = process["process"]["pid"].as_u64().unwrap() as u32;
            let sum = |field: &str| -> u64 {
                let connections = process["window"]["connections"].as_array().unwrap();
                let counts = connections.iter().map(|row| row[field].as_u64().unwrap());
                counts.sum()
            };
            (pid, (sum("started"), sum("ended")))
        })
        .collect();
    (ours, theirs)
}

/// A demo that does nothing until this is dropped: a test that fails meanwhile must be able to end it.
struct Stopped<'a>(&'a ReadyDemo);

impl<'a> Stopped<'a> {
    fn new(demo: &'a ReadyDemo) -> Self {
        signal(demo, Signal::STOP);
        Self(demo)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

fn signal(demo: &ReadyDemo, signal: Signal) {
    for pid in demo.pids() {
        kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
    }
}

/// bpftrace, counting in every process of the demo.
struct Bpftrace {
    child: Child,
    _watchdog: Watchdog,
}

impl Bpftrace {
    fn start(demo: &ReadyDemo) -> Self {
        let quiet: Vec<_> = demo.pids().into_iter().map(site_bytes).collect();
        let demo_binary = binary("roam-demo");
        let child = Command::new("bpftrace")
            .args(["-f", "json", "-e"])
            .arg(PROGRAM.replace("DEMO", demo_binary.to_str().unwrap()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("bpftrace is installed by `cargo xtask test`");
        // One probe may be there before the other.
        wait_for("bpftrace to attach both probes to every process", || {
            demo.pids().into_iter().zip(&quiet).all(|(pid, quiet)| {
                let sites = site_bytes(pid);
                sites
                    .iter()
                    .zip(quiet)
                    .filter(|(now, then)| now != then)
                    .count()
                    == 2
            })
        });
        let _watchdog = Watchdog::of(&child, DEADLINE);
        Self { child, _watchdog }
    }

    fn finish(mut self) -> Counts {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let mut counts = Counts::new();
        for line in BufReader::new(self.child.stdout.take().unwrap()).lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap_or_default();
            for (name, values) in line["data"].as_object().into_iter().flatten() {
                for (pid, count) in values.as_object().into_iter().flatten() {
                    let (started, ended) = counts.entry(pid.parse().unwrap()).or_default();
                    match name.as_str() {
                        "@started" => *started = count.as_u64().unwrap(),
                        "@ended" => *ended = count.as_u64().unwrap(),
                        name => panic!("unknown map {name}"),
                    }
                }
            }
        }
        self.child.wait().unwrap();
        counts
    }
}
