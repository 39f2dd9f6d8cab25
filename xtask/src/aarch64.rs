//! `cargo xtask aarch64`: builds everything for AArch64 and runs its rootless tests on an emulated
//! processor.
//!
//! The kernel stays this machine's, so nothing is attached. Debian has no packages of that architecture
//! for this one, but the sources of the standard library, a linker and the C library: cargo builds the
//! rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::artifacts::{self, TestProgram};
use crate::tally::Tally;
use crate::{machine, process, scratch};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Debian's compiler: the one whose standard library there are sources of.
const COMPILER: &str = "/usr/bin/rustc";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64-static";

/// Some tests start programs with an empty environment, where the emulator would not learn where the C
/// library is.
const COMPILER_FLAGS: &str = "-Ctarget-feature=+crt-static";

/// What has to be there, and the package it is in.
const NEEDED: [(&str, &str); 5] = [
    (COMPILER, "rustc-web"),
    (
        "/usr/lib/rustlib/src/rust/library/Cargo.lock",
        "rust-web-src",
    ),
    ("/usr/bin/aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    (
        "/usr/aarch64-linux-gnu/lib/libc.so.6",
        "libc6-dev-arm64-cross",
    ),
    ("/usr/bin/qemu-aarch64-static", "qemu-user-static"),
];

/// A test program, and which of its tests are run.
struct Part {
    package: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

/// The tests of what differs between architectures: where probes are, what a region looks like, and how
/// both are found in a live process.
const PARTS: [Part; 6] = [
    Part {
        package: "roam-diagnostic",
        program: "probe_sites",
        arguments: &[],
    },
    Part {
        package: "roam-diagnostic",
        program: "registry",
        // An emulated processor orders memory as the one below it does, so a race shows nothing here.
        arguments: &["--skip", "readers_never_see_a_row_that_was_not_written"],
    },
    Part {
        package: "roam-diagnostic",
        program: "process",
        // The emulator does not do MADV_WIPEONFORK.
        arguments: &["--skip", "a_forked_child_reports_nothing"],
    },
    Part {
        package: "roam-trace",
        program: "roam_trace",
        arguments: &["target::"],
    },
    Part {
        package: "roam-trace",
        program: "cli",
        arguments: &["dump::"],
    },
    Part {
        package: "roam-trace",
        program: "end_to_end",
        arguments: &["the_registry_shows_every_hang"],
    },
];

/// Builds and tests.
pub(crate) fn run() -> Result<Tally> {
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(path, _)| !Path::new(path).exists())
        .map(|(_, package)| *package)
        .collect();
    machine::install_packages(&missing)?;

    let started = Instant::now();
    process::require(cargo(&[
        "build",
        "--package",
        "roam-trace",
        "--package",
        "demo",
    ]))?;
    let tests = cargo(&[
        "test",
        "--no-run",
        "--package",
        "roam-diagnostic",
        "--package",
        "roam-trace",
    ]);
    let programs = artifacts::test_programs(tests, &[])?;
    println!(
        "built for {TARGET} in {:.0} s",
        started.elapsed().as_secs_f64()
    );

    let _emulation = Emulation::register()?;
    let mut sum = Tally::default();
    for part in &PARTS {
        let started = Instant::now();
        let tally = part.run(&programs)?;
        println!(
            "{} {}: {tally}, {:.0} s\n",
            part.package,
            part.program,
            started.elapsed().as_secs_f64()
        );
        sum += tally;
    }
    Ok(sum)
}

/// Cargo, building for that architecture with the standard library's sources.
fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = process::cargo(arguments);
    cargo
        .args(["--target", TARGET, "-Z", "build-std=std,panic_abort,test"])
        .current_dir(scratch::root())
        // Unstable options are needed, and this compiler has them behind a word.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", COMPILER)
        .env("CARGO_TARGET_DIR", target_directory())
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            COMPILER_FLAGS,
        )
        .env("CC_aarch64_unknown_linux_gnu", LINKER);
    cargo
}

fn target_directory() -> PathBuf {
    scratch::target_directory().join("aarch64")
}

impl Part {
    fn run(&self, programs: &[TestProgram]) -> Result<Tally> {
        let program = programs
            .iter()
            .find(|program| program.name == self.program && program.package.ends_with(self.package))
            .with_context(|| format!("{} has no tests {}", self.package, self.program))?;
        let mut command = Command::new(EMULATOR);
        command
            .arg(&program.path)
            .args(self.arguments)
            .current_dir(&program.package)
            .env("INSTA_WORKSPACE_ROOT", scratch::root())
            .env("INSTA_UPDATE", "no")
            .env("ROAM_TRACE_TEST_SLOW", "1")
            // A backtrace takes an emulated processor longer than a test waits.
            .env("RUST_BACKTRACE", "0");
        let finished = process::show(command)?;
        let mut tally = Tally::of_cargo_test(&finished.text);
        if tally == Tally::default() || (!finished.success && tally.failed == 0) {
            tally += Tally::one(false);
        }
        Ok(tally)
    }
}

/// The kernel's knowledge of which program runs those of the other architecture, which tests that start
/// programs need. Taken back when it is dropped, unless somebody else had told it.
struct Emulation {
    is_ours: bool,
}

impl Emulation {
    const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";
    const ENTRY: &str = "/proc/sys/fs/binfmt_misc/qemu-aarch64";
    /// What the emulator's package would have the system tell the kernel at the next boot.
    const RULE: &str = "/usr/lib/binfmt.d/qemu-aarch64.conf";

    fn register() -> Result<Self> {
        if Path::new(Self::ENTRY).exists() {
            return Ok(Self { is_ours: false });
        }
        ensure!(
            rustix::process::geteuid().is_root(),
            "only root can have the kernel run programs of another architecture: start this once as root"
        );
        let register = Path::new(Self::DIRECTORY).join("register");
        if !register.exists() {
            let mut mount = Command::new("mount");
            mount.args(["-t", "binfmt_misc", "binfmt_misc", Self::DIRECTORY]);
            process::require(mount)?;
        }
        let rule = fs::read(Self::RULE).with_context(|| format!("reading {}", Self::RULE))?;
        fs::write(&register, rule).with_context(|| format!("writing {}", register.display()))?;
        Ok(Self { is_ours: true })
    }
}

impl Drop for Emulation {
    fn drop(&mut self) {
        if self.is_ours {
            const REMOVE: &str = "-1";
            if let Err(error) = fs::write(Self::ENTRY, REMOVE) {
                eprintln!("{} stays registered: {error}", Self::ENTRY);
            }
        }
    }
}
