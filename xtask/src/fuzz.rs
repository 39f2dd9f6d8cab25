//! `cargo xtask fuzz`: what reads bytes of a target, on inputs that nobody thought of. Starts from the
//! committed corpus; what it adds stays under `target`.

use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::process::{self, Finished};
use crate::tally::Tally;
use crate::{machine, scratch};

/// Bytes in one allocation and seconds for one input that count as a finding.
const LIMITS: [&str; 2] = ["-malloc_limit_mb=64", "-timeout=10"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// What to fuzz, if not everything
    #[arg(value_enum)]
    targets: Vec<Target>,
}

impl Args {
    /// All targets, each as long as the full test run has time for.
    pub(crate) fn of_the_test() -> Self {
        Self {
            seconds: 20,
            targets: Vec::new(),
        }
    }
}

/// The programs in `fuzz/fuzz_targets`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Target {
    /// A registry that changes while it is read, up to what is printed of it
    Registry,
    /// The probe notes of an ELF file
    ElfNotes,
    /// The strings of one note
    UsdtArguments,
    /// `maps`, `status`, `stat`, `timens_offsets` and links in /proc
    ProcFiles,
}

impl Target {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Fuzzes the targets that were named, or all, as many at once as there are processors.
pub(crate) fn run(args: &Args) -> Result<Tally> {
    let targets = match args.targets.as_slice() {
        [] => Target::value_variants(),
        named => named,
    };
    machine::install_nightly(&[])?;
    machine::install_cargo_fuzz()?;
    // Once for all: two at a time would wait for each other.
    process::require(cargo_fuzz(&["build"]))?;
    let queue = Mutex::new(targets.iter());
    let next = || queue.lock().ok()?.next().copied();
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let results: Vec<_> = thread::scope(|scope| {
        let work = || std::iter::from_fn(|| Some(fuzz(next()?, args.seconds))).collect::<Vec<_>>();
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    });
    let mut tally = Tally::default();
    for result in results {
        tally += Tally::one(result?);
    }
    Ok(tally)
}

/// Runs one target. Returns whether nothing was found.
fn fuzz(target: Target, seconds: u32) -> Result<bool> {
    let name = target.name();
    println!("fuzzing {name} for {seconds} s");
    let found = directory().join("corpus").join(&name);
    fs::create_dir_all(&found).with_context(|| format!("creating {}", found.display()))?;
    let mut command = cargo_fuzz(&["run"]);
    command
        .arg(&name)
        .args([found, scratch::root().join("fuzz/corpus").join(&name)])
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(LIMITS);
    let finished = process::capture(command)?;
    if finished.success {
        println!("{name}: {}", runs(&finished));
    } else {
        println!("{name}: FOUND SOMETHING\n{}", finished.tail(60));
    }
    Ok(finished.success)
}

/// The line in which libFuzzer says how many inputs it tried.
fn runs(finished: &Finished) -> &str {
    let mut lines = finished.text.lines().rev();
    lines
        .find(|line| line.starts_with("Done "))
        .unwrap_or("ended without a count")
}

fn cargo_fuzz(arguments: &[&str]) -> Command {
    let mut command = process::cargo(["fuzz"]);
    command
        .current_dir(scratch::root().join("fuzz"))
        .env("RUSTUP_TOOLCHAIN", machine::NIGHTLY)
        .args(arguments)
        .arg("--target-dir")
        .arg(directory().join("target"));
    command
}

fn directory() -> PathBuf {
    scratch::directory().join("fuzz")
}
