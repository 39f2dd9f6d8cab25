//! `cargo xtask fuzz`: the code that reads bytes of a target, on fuzzed inputs. Starts from the committed corpus;
//! what it adds stays under `target`.

use std::env::consts::ARCH;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::tally::Tally;
use crate::{install, paths, pool, process};

/// Bytes in one allocation and seconds for one input that count as a finding.
const LIMITS: [&str; 2] = ["-malloc_limit_mb=64", "-timeout=10"];

/// What `cargo fuzz` compiles with; to build that tool takes longer than to fuzz. One unit of code, since what is
/// instrumented is not inlined into another.
const COMPILER_FLAGS: &str = "--cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1 \
     -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-stack-depth \
     -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// What to fuzz [default: everything]
    #[arg(value_enum)]
    targets: Vec<FuzzTarget>,
}

impl Args {
    /// All targets.
    pub(crate) fn all(seconds: u32) -> Self {
        Self {
            seconds,
            targets: Vec::new(),
        }
    }
}

/// The programs in `testing/fuzz/fuzz_targets`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum FuzzTarget {
    /// A registry that changes while it is read, from its bytes to the printed dump
    Registry,
    /// A shared-memory hub that changes while it is read, from its bytes to the printed section
    Hub,
    /// The probe notes of an ELF file
    ElfNotes,
    /// The strings of one note
    UsdtArguments,
    /// `maps`, `status`, `stat`, `timens_offsets` and links in /proc
    ProcFiles,
}

/// The result of fuzzing a target.
pub(crate) struct Fuzzed {
    pub(crate) target: String,
    /// Inputs that were tried.
    pub(crate) inputs: u64,
    pub(crate) found_nothing: bool,
}

/// Fuzzes the targets that were named, or all.
pub(crate) fn run(args: &Args) -> Result<Tally> {
    let mut tally = Tally::default();
    for fuzzed in fuzz_all(args)? {
        tally += Tally::one(fuzzed.found_nothing);
    }
    Ok(tally)
}

/// The same, as many targets at once as there are processors.
pub(crate) fn fuzz_all(args: &Args) -> Result<Vec<Fuzzed>> {
    let targets = match args.targets.as_slice() {
        [] => FuzzTarget::value_variants(),
        named => named,
    };
    build()?;
    let fuzzed = pool::map(targets, pool::processors(), |target| {
        fuzz(*target, args.seconds)
    });
    fuzzed.into_iter().collect()
}

fn build() -> Result<()> {
    install::packages(&install::FUZZING)?;
    install::nightly(&[])?;
    // A target that is named keeps the flags from what runs while it is compiled.
    let mut cargo = process::cargo("build --release --bins --target");
    cargo
        .arg(triple())
        .current_dir(paths::root().join("testing/fuzz"))
        .env("CARGO_TARGET_DIR", directory().join("target"))
        .env("RUSTUP_TOOLCHAIN", install::NIGHTLY)
        .env("RUSTFLAGS", COMPILER_FLAGS);
    process::require(cargo)
}

fn fuzz(target: FuzzTarget, seconds: u32) -> Result<Fuzzed> {
    let target = target
        .to_possible_value()
        .context("a target without a name")?;
    let target = target.get_name().to_owned();
    println!("fuzzing {target} for {seconds} s");
    let found = directory().join("corpus").join(&target);
    let artifacts = directory().join("artifacts");
    for directory in [&found, &artifacts] {
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
    }
    let program = directory().join("target").join(triple()).join("release");
    let mut command = Command::new(program.join(&target));
    command
        .args([
            found,
            paths::root().join("testing/fuzz/corpus").join(&target),
        ])
        .arg(format!(
            "-artifact_prefix={}/{target}-",
            artifacts.display()
        ))
        .arg(format!("-max_total_time={seconds}"))
        .args(LIMITS)
        .env("ASAN_OPTIONS", "detect_odr_violation=0");
    let finished = process::capture(command)?;
    let inputs = inputs(&finished.text);
    match finished.success {
        true => println!("{target}: {inputs} inputs"),
        false => println!("{target}: FAILED\n{}", finished.tail(60)),
    }
    Ok(Fuzzed {
        target,
        inputs,
        found_nothing: finished.success,
    })
}

/// How many inputs libFuzzer tried, as its last lines say.
fn inputs(output: &str) -> u64 {
    let done = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("Done "));
    done.and_then(|done| done.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

fn triple() -> String {
    format!("{ARCH}-unknown-linux-gnu")
}

fn directory() -> PathBuf {
    paths::scratch().join("fuzz")
}

#[cfg(test)]
mod tests {
    #[test]
    fn inputs_are_counted_by_the_last_line() {
        let output = "#8\tDONE   cov: 5\nDone 1737 runs in 6 second(s)\n";
        assert_eq!(super::inputs(output), 1_737);
        assert_eq!(super::inputs("==1== ERROR: libFuzzer: timeout"), 0);
    }
}
