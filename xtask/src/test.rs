//! The full test run: every part runs even if another failed, and what failed is named at the end.

use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::scratch::{self, Session};
use crate::tally::Tally;
use crate::{
    aarch64, api, artifacts, build_ebpf, conformance, cycles, dependents, fuzz, interop, machine,
    method_ids, vm,
};

/// How long each target is fuzzed.
const FUZZ_SECONDS: u32 = 20;

struct Part {
    name: &'static str,
    run: fn() -> Result<Tally>,
    needs_root: bool,
    /// What a later part needs, built while this one mostly waits.
    meanwhile: Option<fn() -> Result<()>>,
}

impl Part {
    const fn new(name: &'static str, run: fn() -> Result<Tally>) -> Self {
        Self {
            name,
            run,
            needs_root: false,
            meanwhile: None,
        }
    }

    const fn by_root(self) -> Self {
        Self {
            needs_root: true,
            ..self
        }
    }

    const fn while_building(self, what: fn() -> Result<()>) -> Self {
        Self {
            meanwhile: Some(what),
            ..self
        }
    }

    fn run(&self) -> Result<Tally> {
        thread::scope(|scope| {
            if let Some(build) = self.meanwhile {
                scope.spawn(move || {
                    // A thread's own, on Linux, and of what it starts.
                    let _ = rustix::process::nice(19);
                    // It fails again, and is told, in the part that needs it.
                    let _ = build();
                });
            }
            (self.run)()
        })
    }
}

const PARTS: [Part; 19] = [
    Part::new("formatting", formatting),
    Part::new("clippy", clippy),
    Part::new("no cycles between files", cycles::run),
    Part::new("unit, snapshot, property and doc tests", tests),
    Part::new("registry under stress, read from outside", stress),
    Part::new("slot protocol in loom", slot_protocol),
    Part::new("registry in Miri", registry_in_miri),
    Part::new("probes linked by mold", probes_by_mold),
    Part::new("conformance", || conformance::run(&Session::ours())),
    Part::new("public API", || api::run(&Session::ours())),
    Part::new("method ids", || method_ids::run(false)),
    Part::new("dependents", || dependents::run(&Session::ours())),
    Part::new("interop", || interop::run(false)),
    Part::new("committed eBPF object", ebpf_object),
    Part::new("end to end on the real kernel", end_to_end)
        .by_root()
        .while_building(fuzz::build),
    Part::new("fuzzing", || fuzz::run(&fuzz::Args::all(FUZZ_SECONDS))),
    Part::new("hostile targets, within memory and time", hostile).by_root(),
    Part::new("end to end on kernels of distributions", || {
        vm::run(&vm::PACKAGED.map(str::to_owned))
    })
    .by_root()
    .while_building(|| aarch64::build().map(drop)),
    Part::new("AArch64, emulated", aarch64::run).by_root(),
];

/// Cargo projects that are not members of the workspace; the builds of `interop` share their sources.
const OUTSIDE: [&str; 2] = ["testing/interop/drop-in", "testing/interop/published"];
const EBPF: &str = "roam-trace-ebpf";
const FUZZ: &str = "testing/fuzz";

/// Runs everything, or what needs no root.
pub(crate) fn run(rootless: bool) -> Result<Tally> {
    let is_root = rustix::process::geteuid().is_root();
    let of_root: Vec<_> = PARTS
        .iter()
        .filter(|part| part.needs_root)
        .map(|part| part.name)
        .collect();
    if !rootless && !is_root {
        bail!(
            "without root these cannot run: {}. Run this as root, or `cargo xtask test --rootless` for the rest",
            of_root.join(", ")
        );
    }
    machine::prepare(is_root)?;
    if !rootless {
        // Now: apt does one thing at a time, and other parts use it while this is built.
        aarch64::install()?;
    }
    let parts: Vec<_> = PARTS
        .iter()
        .filter(|part| !(rootless && part.needs_root))
        .collect();
    let mut sum = Tally::default();
    let mut report = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        println!("\n==> {}/{} {}", index + 1, parts.len(), part.name);
        let started = Instant::now();
        let tally = part.run().unwrap_or_else(|error| {
            println!("{error:#}");
            Tally::one(false)
        });
        let verdict = if tally.failed == 0 {
            "ok    "
        } else {
            "FAILED"
        };
        report.push(format!(
            "{verdict} {} ({tally}, {:.0} s)",
            part.name,
            started.elapsed().as_secs_f64()
        ));
        println!("{}", report[index]);
        sum += tally;
    }
    println!("\n{}\n", report.join("\n"));
    Ok(sum)
}

fn formatting() -> Result<Tally> {
    let mut tally = check(workspace(&["fmt", "--all", "--check"]))?;
    for project in OUTSIDE.iter().chain([&EBPF, &FUZZ]) {
        tally += check(outside(project, &["fmt", "--check"]))?;
    }
    Ok(tally)
}

fn clippy() -> Result<Tally> {
    const DENY: [&str; 3] = ["--", "--deny", "warnings"];
    let mut tally = check(with(
        workspace(&["clippy", "--workspace", "--all-targets", "--all-features"]),
        &DENY,
    ))?;
    // Not among all targets: it is not to be run with them.
    tally += check(with(
        workspace(&["clippy", "--workspace", "--test", "hostile"]),
        &DENY,
    ))?;
    for project in OUTSIDE.iter().chain([&FUZZ]) {
        tally += check(with(
            outside(project, &["clippy", "--all-targets", "--all-features"]),
            &DENY,
        ))?;
    }
    Ok(tally)
}

fn tests() -> Result<Tally> {
    tally_of_tests(workspace(&["test", "--workspace", "--no-fail-fast"]))
}

/// The tests that need root.
fn end_to_end() -> Result<Tally> {
    real_kernel(&["--no-fail-fast"])
}

/// Those of them that make faults while a target is traced.
pub(crate) fn faults() -> Result<Tally> {
    // Cargo builds the programs that they start for tests of those.
    real_kernel(&["--test", "faults", "--test", "log", "--examples"])
}

fn real_kernel(selection: &[&str]) -> Result<Tally> {
    machine::prepare_to_attach()?;
    let mut command = with(workspace(&["test", "--workspace"]), selection);
    // One after the other: a probe site, and whoever listens to it, is every process's of that binary.
    command.args(["--", "--ignored", "--test-threads=1"]);
    tally_of_tests(command)
}

/// With the build that people use: what it takes of memory and time is promised.
pub(crate) fn hostile() -> Result<Tally> {
    machine::prepare_to_attach()?;
    let mut command = vm::release_tests();
    command.args(["--test", "hostile", "--", "--include-ignored"]);
    command.arg("--test-threads=1");
    tally_of_tests(command)
}

/// Eight writers and a reader, for longer than `cargo test` has them.
fn stress() -> Result<Tally> {
    // Of the whole workspace, so that nothing is compiled anew with fewer features.
    let mut command = workspace(&["test", "--workspace", "--test", "stress"]);
    command
        .args(["--", "--nocapture"])
        .env("ROAM_TRACE_STRESS_SECONDS", "30");
    tally_of_tests(command)
}

/// Every order in which threads may claim, change, read and release a slot.
fn slot_protocol() -> Result<Tally> {
    let mut command = workspace(&["test", "--package", "roam-diagnostic", "--lib"]);
    command
        .args(["--target-dir", "target/loom", "registry::model"])
        .env("RUSTFLAGS", "--cfg loom");
    tally_of_tests(command)
}

/// What the registry does with memory, each access checked.
fn registry_in_miri() -> Result<Tally> {
    machine::install_nightly(&["miri", "rust-src"])?;
    let mut command = workspace(&["miri", "test", "--package", "roam-dump"]);
    command
        .args(["--test", "registry", "--target-dir", "target/miri"])
        .env("RUSTUP_TOOLCHAIN", machine::NIGHTLY)
        // It cannot tell when it started, and may not look.
        .env("MIRIFLAGS", "-Zmiri-isolation-error=hide");
    tally_of_tests(command)
}

/// Linkers differ in what they keep of a program's notes.
fn probes_by_mold() -> Result<Tally> {
    let mut cargo = workspace(&["rustc", "--package", "roam-diagnostic"]);
    cargo.args(["--test", "probe_sites"]);
    let programs = artifacts::test_programs(cargo, &["-Clink-arg=-fuse-ld=mold"])?;
    let program = programs.first().context("probe_sites was not built")?;
    let mut command = Command::new(&program.path);
    command.current_dir(&program.package);
    tally_of_tests(command)
}

fn tally_of_tests(command: Command) -> Result<Tally> {
    let finished = process::show(command)?;
    let mut tally = Tally::of_cargo_test(&finished.text);
    if !finished.success && tally.failed == 0 {
        // It did not compile, or a test ended its process.
        tally += Tally::one(false);
    }
    ensure!(tally != Tally::default(), "no test ran");
    Ok(tally)
}

fn ebpf_object() -> Result<Tally> {
    let args = build_ebpf::Args {
        check: true,
        install: rustix::process::geteuid().is_root(),
        compiler: None,
    };
    build_ebpf::run(&args).map(|()| Tally::one(true))
}

fn check(command: Command) -> Result<Tally> {
    Ok(Tally::one(process::show(command)?.success))
}

fn workspace(arguments: &[&str]) -> Command {
    let mut command = process::cargo(arguments);
    command.current_dir(scratch::root());
    command
}

fn outside(project: &str, arguments: &[&str]) -> Command {
    scratch::cargo_in(&scratch::root().join(project), arguments)
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}
