//! The full test run: every part runs, whatever the result of the others, and what failed is named at the end.
//!
//! Once the tests are built, two parts run at a time: tests that mostly wait, for processes and kernels, and beside
//! them, with what these leave of the processors, what compiles and computes. When the first are done, two parts of the
//! second kind run at a time.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::parts::Part;
use crate::tally::Tally;
use crate::{aarch64, install, parts, paths, process, vm};

/// What needs root, by name.
const OF_ROOT: [&str; 5] = [
    "end to end on the real kernel",
    "malicious targets, within memory and time",
    "incidents in a realistic application",
    "end to end on kernels of distributions",
    "AArch64, emulated",
];

/// What compiles and computes: a name, and the task as arguments of this program. First what has deadlines and
/// what the tests that run meanwhile need next, last what keeps all processors at work when those are done.
const BESIDE: [(&str, &str); 18] = [
    ("conformance", "conformance"),
    ("interop", "interop"),
    ("method ids", "method-ids"),
    ("release build of the tests", "part release"),
    ("Debian package", "part package"),
    ("formatting", "part formatting"),
    ("no cycles between files", "cycles"),
    ("doc tests", "part doc"),
    ("slot protocol in loom", "part loom"),
    ("probes linked by mold", "part mold"),
    ("committed eBPF object", "build-ebpf --check"),
    ("AArch64 build of the tests", "part aarch64"),
    ("registry in Miri", "part miri"),
    ("dependents", "dependents"),
    ("public API", "api"),
    ("crates that the drop-in adds", "weight"),
    ("clippy", "part clippy"),
    ("fuzzing", "fuzz --seconds 10"),
];

/// Runs everything, or what needs no root.
pub(crate) fn run(rootless: bool) -> Result<Tally> {
    ensure!(
        rootless || install::is_root(),
        "without root these cannot run: {}. Run this as root, or `cargo xtask test --rootless` for the rest",
        OF_ROOT.join(", ")
    );
    install::everything(rootless)?;
    let report = Report::default();
    let tests = report.part(
        "build of the tests",
        || parts::debug_tests(""),
        |_| Tally::default(),
    );
    let is_wanted =
        |(_, task): &(_, &str)| !(rootless && ["part release", "part aarch64"].contains(task));
    let queue = Mutex::new(BESIDE.into_iter().filter(is_wanted));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let beside = || {
        while let Some((name, task)) = next() {
            report.part_beside(name, task);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            // A thread's own, on Linux, and of what it starts.
            let _ = rustix::process::nice(10);
            beside();
        });
        if let Some(tests) = tests {
            report.tests("unit, snapshot and property tests", || parts::unit(&tests));
            report.tests("registry under stress, read from outside", || {
                parts::stress(&tests)
            });
            if !rootless {
                report.tests(OF_ROOT[0], || parts::end_to_end(&tests));
            }
        }
        if !rootless {
            report.tests(OF_ROOT[1], parts::hostile);
            report.tests(OF_ROOT[2], || parts::run(Part::Incidents));
            report.tests(OF_ROOT[3], || vm::run(&vm::PACKAGED.map(str::to_owned)));
            report.tests(OF_ROOT[4], aarch64::run);
        }
        beside();
    });
    Ok(report.close())
}

/// A line for each part, and what all of them come to.
#[derive(Default)]
struct Report(Mutex<(Vec<String>, Tally)>);

impl Report {
    fn tests(&self, name: &str, run: impl FnOnce() -> Result<Tally>) {
        self.part(name, run, |tally| *tally);
    }

    /// Runs a part, whose output is shown as it comes.
    fn part<T>(
        &self,
        name: &str,
        run: impl FnOnce() -> Result<T>,
        tally: impl FnOnce(&T) -> Tally,
    ) -> Option<T> {
        println!("\n==> {name}");
        let began = Instant::now();
        let result = run();
        let tally = match &result {
            Ok(result) => tally(result),
            Err(error) => {
                println!("{error:#}");
                Tally::one(false)
            }
        };
        self.add(name, "", tally, began.elapsed());
        result.ok()
    }

    /// Runs a part beside others: another process of this program, whose output is shown when it has ended.
    fn part_beside(&self, name: &str, task: &str) {
        let began = Instant::now();
        let run = || -> Result<_> {
            let mut command = Command::new(std::env::current_exe().context("this program")?);
            command.args(task.split(' ')).current_dir(paths::root());
            process::capture(command)
        };
        let (text, tally) = match run() {
            Ok(finished) => {
                let mut tally = Tally::closing(&finished.text).unwrap_or_default();
                if !finished.success && tally.failed == 0 {
                    tally += Tally::one(false);
                }
                (finished.text, tally)
            }
            Err(error) => (format!("{error:#}\n"), Tally::one(false)),
        };
        self.add(
            name,
            &format!("\n==> {name}, meanwhile\n{text}"),
            tally,
            began.elapsed(),
        );
    }

    fn add(&self, name: &str, text: &str, tally: Tally, took: Duration) {
        let word = if tally.failed == 0 {
            "ok    "
        } else {
            "FAILED"
        };
        let line = format!("{word} {name} ({tally}, {:.0} s)", took.as_secs_f64());
        println!("{text}{line}");
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        report.0.push(line);
        report.1 += tally;
    }

    /// Prints the lines.
    fn close(self) -> Tally {
        let (lines, sum) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!("\n{}\n", lines.join("\n"));
        sum
    }
}
