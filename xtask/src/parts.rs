//! The parts of the full test run that are no tasks of their own.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::tally::Tally;
use crate::test_program::{self, How, TestProgram};
use crate::{aarch64, dist, incidents, install, machine, paths, process, scratch};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Part {
    /// Unit, snapshot and property tests
    Unit,
    /// Eight writers and a reader, for longer than `cargo test` has them
    Stress,
    /// The tests that need root
    EndToEnd,
    /// Targets with malicious data, within memory and time
    Hostile,
    /// Each incident of `incidents` once, under its worst condition
    Incidents,
    /// Everything is formatted
    Formatting,
    /// Clippy finds nothing
    Clippy,
    /// The tests in the documentation
    Doc,
    /// Every order in which threads may claim, change, read and release a slot
    Loom,
    /// What the registry does with memory, each access checked
    Miri,
    /// The notes of the probes in a program that mold linked
    Mold,
    /// The Debian package installs, runs and is removed
    Package,
    /// Builds what is tested of the release build
    Release,
    /// Builds what is tested of the AArch64 build
    Aarch64,
}

/// Cargo projects that are not members of the workspace; the builds of `interop` share their sources.
const OUTSIDE: [&str; 3] = [
    "testing/interop/drop-in",
    "testing/interop/published",
    "testing/fuzz",
];
const EBPF: &str = "roam-trace-ebpf";

/// Runs a part.
pub(crate) fn run(part: Part) -> Result<Tally> {
    match part {
        Part::Unit => unit(&debug_tests("")?),
        Part::Stress => stress(&debug_tests("--test stress")?),
        Part::EndToEnd => end_to_end(&debug_tests("")?),
        Part::Hostile => hostile(),
        Part::Incidents => incidents::run(&incidents::Args::once()),
        Part::Formatting => formatting(),
        Part::Clippy => clippy(),
        Part::Doc => check(process::cargo("test --workspace --doc")),
        Part::Loom => loom(),
        Part::Miri => miri(),
        Part::Mold => mold(),
        Part::Package => dist::check(),
        Part::Release => release_tests("*").map(|_| Tally::default()),
        Part::Aarch64 => aarch64::build().map(|_| Tally::default()),
    }
}

fn formatting() -> Result<Tally> {
    let mut tally = check(process::cargo("fmt --all --check"))?;
    for project in OUTSIDE.iter().chain([&EBPF]) {
        tally += check(scratch::cargo_in(
            &paths::root().join(project),
            "fmt --check",
        ))?;
    }
    Ok(tally)
}

fn clippy() -> Result<Tally> {
    const EVERYTHING: &str = "--all-targets --all-features -- --deny warnings";
    let mut tally = check(process::cargo(&format!("clippy --workspace {EVERYTHING}")))?;
    // Not among all targets: it is not to be run with them.
    tally += check(process::cargo(
        "clippy --workspace --test hostile -- --deny warnings",
    ))?;
    for project in OUTSIDE {
        let mut clippy = scratch::cargo_in(
            &paths::root().join(project),
            &format!("clippy {EVERYTHING}"),
        );
        // Nothing is linked, so nobody needs libFuzzer compiled.
        clippy.env("CUSTOM_LIBFUZZER_PATH", "/dev/null");
        tally += check(clippy)?;
    }
    Ok(tally)
}

fn loom() -> Result<Tally> {
    let mut cargo = process::cargo("test --package roam-diagnostic --lib --no-run");
    cargo.env("RUSTFLAGS", "--cfg loom");
    let programs = test_program::build(cargo, &[])?;
    let how = How {
        selection: &["registry::model"],
        ..How::default()
    };
    test_program::run(&programs, how)
}

fn miri() -> Result<Tally> {
    install::nightly(&["miri", "rust-src"])?;
    let mut miri =
        process::cargo("miri test --package roam-dump --test registry --target-dir target/miri");
    miri.env("RUSTUP_TOOLCHAIN", install::NIGHTLY)
        // It cannot find out when it started.
        .env("MIRIFLAGS", "-Zmiri-isolation-error=hide");
    check(miri)
}

/// Linkers differ in what they keep of a program's notes.
fn mold() -> Result<Tally> {
    let cargo = process::cargo("rustc --package roam-diagnostic --test probe_sites");
    let programs = test_program::build(cargo, &["-Clink-arg=-fuse-ld=mold"])?;
    test_program::run(&programs, How::default())
}

/// The tests of the workspace, of the given targets. Of all its crates, so that nothing is compiled
/// again with fewer features.
pub(crate) fn debug_tests(targets: &str) -> Result<Vec<TestProgram>> {
    let cargo = process::cargo(&format!("test --workspace --no-run {targets}"));
    test_program::build(cargo, &[])
}

/// Those that need no root.
pub(crate) fn unit(tests: &[TestProgram]) -> Result<Tally> {
    test_program::run(tests, How::default())
}

/// Eight writers and a reader, for longer than `cargo test` has them.
pub(crate) fn stress(tests: &[TestProgram]) -> Result<Tally> {
    let how = How {
        environment: &[("ROAM_TRACE_STRESS_SECONDS", "30")],
        ..How::default()
    };
    let stress = tests.iter().filter(|test| test.name == "stress");
    test_program::run(stress, how)
}

/// Those that need root.
pub(crate) fn end_to_end(tests: &[TestProgram]) -> Result<Tally> {
    machine::prepare_to_attach()?;
    // One after the other: a probe site, and whoever listens to it, is every process's of that binary.
    let how = How {
        selection: &["--ignored"],
        one_by_one: true,
        ..How::default()
    };
    test_program::run(tests, how)
}

/// Those of them that make faults while a target is traced.
pub(crate) fn faults() -> Result<Tally> {
    // Cargo builds the programs that they start for tests of those.
    end_to_end(&debug_tests("--test faults --test log --examples")?)
}

/// With the build that people use: what it takes of memory and time is promised.
pub(crate) fn hostile() -> Result<Tally> {
    machine::prepare_to_attach()?;
    let how = How {
        selection: &["--include-ignored"],
        one_by_one: true,
        ..How::default()
    };
    test_program::run(&release_tests("hostile")?, how)
}

/// Tests of the release build, with the tool and the demo, by the names of their programs.
pub(crate) fn release_tests(names: &str) -> Result<Vec<TestProgram>> {
    let mut cargo = process::cargo("test --release --package roam-trace --package demo --no-run");
    cargo.args(["--test", names]);
    test_program::build(cargo, &[])
}

fn check(command: Command) -> Result<Tally> {
    Ok(Tally::one(process::show(command)?.success))
}
