//! The pid of the host is enough: whoever blocks it is found, in whichever process.
//!
//! `ROAM_TRACE_TEST_RUNS=20` starts every hang 20 times instead of once; `--nocapture` shows the table of results.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use roam_demo::service::method::{COMPILE, CONVERT, FETCH, OPEN, UPLOAD};
use serde_json::Value;

use crate::demo::{Demo, ReadyDemo};
use crate::dump::Tracer;

/// A hang, and who may be its first root blocker: the process (0 for the host), the kind of the node, the method.
type Hang = (
    &'static str,
    &'static [(usize, &'static str, Option<&'static str>)],
);

const HANGS: [Hang; 12] = [
    ("handler", &[(1, "handler", Some(OPEN))]),
    ("chain", &[(2, "handler", Some(CONVERT))]),
    ("reader", &[(1, "handler", Some(UPLOAD))]),
    ("dropped", &[(1, "handler", Some(CONVERT))]),
    ("forward", &[(2, "handler", Some(FETCH))]),
    ("starved", &[(1, "process", None)]),
    ("panic", &[(1, "handler", Some(CONVERT))]),
    ("orphan", &[(1, "handler", Some(CONVERT))]),
    ("peer-stopped", &[(1, "process", None)]),
    ("peer-dead", &[(1, "process", None)]),
    // The handlers of both cells wait for a lock that the other holds.
    (
        "deadlock",
        &[(1, "handler", Some(CONVERT)), (2, "handler", Some(CONVERT))],
    ),
    ("unread", &[(0, "call", Some(COMPILE))]),
];
const RATES: [&str; 2] = ["0", "20"];
const OPTIONS: [&[&str]; 2] = [&[], &["--children"]];

/// Demos that run at the same time: they mostly wait.
const JOBS: usize = 4;

/// What the first root blocker of one dump is.
fn first_root(demo: &ReadyDemo, options: &[&str]) -> String {
    let dump = Tracer::start(&[demo.ready.host], options).finish();
    let graph = dump.graph();
    let Some(root) = graph["roots"].get(0) else {
        return "none".to_owned();
    };
    let node = &graph["nodes"][root["nodes"][0].as_u64().unwrap() as usize];
    let pid = node["pid"].as_u64().unwrap() as u32;
    let number = demo.pids().iter().position(|&known| known == pid);
    describe(
        number.unwrap(),
        node["node"].as_str().unwrap(),
        node["method"].as_str(),
    )
}

fn describe(process: usize, node: &str, method: Option<&str>) -> String {
    let process = match process {
        0 => "host".to_owned(),
        number => format!("cell {number}"),
    };
    format!("{process}: {node} {}", method.unwrap_or_default())
}

#[test]
fn the_pid_of_the_host_is_enough_for_every_hang() {
    let runs = std::env::var("ROAM_TRACE_TEST_RUNS");
    let runs: usize = runs.map_or(1, |runs| runs.parse().unwrap());
    let jobs = HANGS.iter().flat_map(|hang| RATES.map(|rate| (hang, rate)));
    let jobs: Vec<_> = (0..runs).flat_map(|_| jobs.clone()).collect();
    let jobs = Mutex::new(jobs.into_iter());
    let results: Mutex<BTreeMap<_, BTreeMap<String, usize>>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while let Some(((hang, _), rate)) = { jobs.lock().unwrap().next() } {
                    let demo = Demo::start(&["--hang", *hang, "--rate", rate]).ready();
                    demo.wait_until_background_is_young();
                    for options in OPTIONS {
                        let root = first_root(&demo, options);
                        let mut results = results.lock().unwrap();
                        let of_hang = results.entry((*hang, rate, options)).or_default();
                        *of_hang.entry(root).or_default() += 1;
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    println!(
        "| hang | rate | options | runs | right root first | others |\n| --- | --- | --- | --- | --- | --- |"
    );
    let mut wrong = Vec::new();
    for (hang, roots) in HANGS {
        let roots: Vec<_> = (roots.iter())
            .map(|&(process, node, method)| describe(process, node, method))
            .collect();
        for ((_, rate, options), found) in results.iter().filter(|((of, ..), _)| *of == hang) {
            let (right, others): (Vec<_>, Vec<_>) =
                found.iter().partition(|(root, _)| roots.contains(root));
            let right: usize = right.into_iter().map(|(_, count)| count).sum();
            let options = options.join(" ");
            println!("| {hang} | {rate} | {options} | {runs} | {right} | {others:?} |");
            if right != runs {
                wrong.push((hang, *rate, options, others));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The pids of a dump, and which of them were added.
fn pids(dump: &crate::dump::Rows) -> Vec<(u32, bool)> {
    let of = |process: &Value| {
        let pid = process["process"]["pid"].as_u64().unwrap() as u32;
        (pid, process["followed"] == true)
    };
    dump.processes().map(of).collect()
}

#[test]
fn who_waits_for_nobody_adds_nobody() {
    let demo = Demo::start(&["--rate", "400"]).ready();
    thread::sleep(std::time::Duration::from_secs(2));
    let host = demo.ready.host;
    for _ in 0..5 {
        let dump = Tracer::start(&[host], &[]).finish();
        assert_eq!(pids(&dump), [(host, false)]);
    }
}

#[test]
#[ignore = "needs root"]
fn with_probes_the_others_are_added_by_their_registries() {
    let demo = Demo::start(&["--hang", "chain"]).ready();
    let dump = Tracer::start(&[demo.ready.host], &["-d", "1500ms"]).finish();
    let [host, cell_1, cell_2] = demo.pids()[..] else {
        panic!("three processes");
    };
    assert_eq!(pids(&dump), [(host, false), (cell_1, true), (cell_2, true)]);
    let sources: Vec<_> = dump.processes().map(|process| &process["source"]).collect();
    assert_eq!(sources, ["both", "registry", "registry"]);
    let windows = dump.processes().map(|process| process["window"].is_null());
    assert_eq!(windows.collect::<Vec<_>>(), [false, true, true]);
    for process in dump.processes() {
        assert_eq!(process["gaps"], serde_json::json!([]), "{process:#}");
    }
    let alone = Tracer::start(&[host], &["--source", "probes", "-d", "1500ms"]).finish();
    assert_eq!(pids(&alone), [(host, false)]);
}
