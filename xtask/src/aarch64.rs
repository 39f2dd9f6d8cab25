//! `cargo xtask aarch64`: builds everything for AArch64 and runs its rootless tests on an emulated
//! processor.
//!
//! The kernel stays this machine's, so nothing is attached. The linker, the C library and the emulator are
//! Debian's. The standard library is rustup's or, where that cannot be had, built from Debian's sources.

use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::artifacts::{self, TestProgram};
use crate::tally::Tally;
use crate::{machine, process, scratch};

const TARGET: &str = "aarch64-unknown-linux-gnu";

const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64-static";

/// Where Debian has that architecture's loader and libraries. They are written into the programs: some
/// tests start those with an empty environment, where the emulator would not learn it.
const COMPILER_FLAGS: &str = "-Clink-arg=-Wl,--dynamic-linker=/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 \
     -Clink-arg=-Wl,-rpath=/usr/aarch64-linux-gnu/lib";

/// What has to be there, and the package it is in.
const NEEDED: [(&str, &str); 3] = [
    ("/usr/bin/aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    (
        "/usr/aarch64-linux-gnu/lib/libc.so",
        "libc6-dev-arm64-cross",
    ),
    ("/usr/bin/qemu-aarch64-static", "qemu-user-static"),
];

/// Debian's compiler, and the sources of its standard library.
const COMPILER: &str = "/usr/bin/rustc";
const NEEDED_TO_BUILD_THE_LIBRARY: [(&str, &str); 2] = [
    (COMPILER, "rustc-web"),
    (
        "/usr/lib/rustlib/src/rust/library/Cargo.lock",
        "rust-web-src",
    ),
];

/// A test program, and which of its tests are run.
struct Part {
    package: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

/// The tests of what differs between architectures: where probes are, what a region looks like, and how
/// both are found in a live process.
const PARTS: [Part; 10] = [
    Part {
        package: "roam-diagnostic",
        program: "roam_diagnostic",
        arguments: &[],
    },
    Part {
        package: "roam-diagnostic",
        program: "probe_sites",
        arguments: &[],
    },
    Part {
        package: "roam-dump",
        program: "registry",
        // The emulator orders memory as the processor below it does, so a race shows nothing here.
        arguments: &["--skip", "readers_never_see_a_row_that_was_not_written"],
    },
    Part {
        package: "roam-dump",
        program: "process",
        // The emulator says yes to MADV_WIPEONFORK and does nothing.
        arguments: &["--skip", "a_forked_child_reports_nothing"],
    },
    Part {
        package: "demo",
        program: "roam_demo",
        arguments: &[],
    },
    Part {
        package: "demo",
        program: "host",
        arguments: &[],
    },
    Part {
        package: "roam-trace",
        program: "roam_trace",
        // The emulator has no netlink sockets to list others by.
        arguments: &["--skip", "target::sockets"],
    },
    Part {
        package: "roam-trace",
        program: "objects",
        arguments: &[],
    },
    Part {
        package: "roam-trace",
        program: "cli",
        // The emulator maps a program as data, for nobody executes it: these want a live one's probes found.
        arguments: &[
            "--exact",
            "--skip=bad_input::file_size_limit",
            "--skip=bad_input::switched_off",
            "--skip=dump::no_connection_yet",
            "--skip=machine::doctor_of_processes",
            "--skip=machine::list",
            // Verdicts that depend on the process's sockets, which the emulator lets nobody list.
            "--skip=bad_input::names_with_terminal_escapes",
            "--skip=dump::hung_process",
        ],
    },
    Part {
        package: "roam-trace",
        program: "end_to_end",
        // Of many that take long: dumps of hangs, and the demo's own.
        arguments: &[
            "the_registry_shows_every_hang",
            "sigusr1_works_with_every_worker_blocked",
        ],
    },
];

/// Builds and tests.
pub(crate) fn run() -> Result<Tally> {
    let started = Instant::now();
    let programs = build()?;
    println!(
        "built for {TARGET} in {:.0} s\n",
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

/// Installs the linker, the C library and the emulator where they are missing.
pub(crate) fn install() -> Result<()> {
    install_missing(&NEEDED)
}

fn install_missing(needed: &[(&str, &'static str)]) -> Result<()> {
    let missing: Vec<_> = needed
        .iter()
        .filter(|(path, _)| !Path::new(path).exists())
        .map(|(_, package)| *package)
        .collect();
    machine::install_packages(&missing)
}

/// Where that architecture's standard library comes from.
enum StandardLibrary {
    /// It is of the compiler that builds the workspace.
    Rustup,
    /// It is compiled.
    Sources,
}

impl StandardLibrary {
    fn find() -> Result<Self> {
        let mut rustup = Command::new("rustup");
        rustup
            .args(["target", "add", TARGET])
            .current_dir(scratch::root());
        if process::show(rustup).is_ok_and(|finished| finished.success) {
            return Ok(Self::Rustup);
        }
        println!("rustup has no standard library for {TARGET}: building Debian's");
        install_missing(&NEEDED_TO_BUILD_THE_LIBRARY)?;
        Ok(Self::Sources)
    }

    /// Cargo, building for that architecture.
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = process::cargo(arguments);
        cargo
            .args(["--target", TARGET])
            .current_dir(scratch::root())
            // Of its own, so that it can be built while others test.
            .env(
                "CARGO_TARGET_DIR",
                scratch::target_directory().join("aarch64"),
            )
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
                COMPILER_FLAGS,
            )
            .env("CC_aarch64_unknown_linux_gnu", LINKER);
        if matches!(self, Self::Sources) {
            cargo
                .args(["-Z", "build-std=std,panic_abort,test"])
                // Unstable options are needed, and this compiler has them behind a word.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", COMPILER);
        }
        cargo
    }
}

/// Builds the programs of tests and, since there are integration tests of them, the tool and the demo.
pub(crate) fn build() -> Result<Vec<TestProgram>> {
    install()?;
    let library = StandardLibrary::find()?;
    let mut tests = library.cargo(&["test", "--no-run", "--lib"]);
    for part in &PARTS {
        tests.args(["--package", part.package]);
        if !part.is_of_library() {
            tests.args(["--test", part.program]);
        }
    }
    artifacts::test_programs(tests, &[])
}

impl Part {
    /// A library's own tests are in a program of its name; no other is named so.
    fn is_of_library(&self) -> bool {
        self.program.starts_with("roam_")
    }

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
/// programs need. Taken back when it is dropped and when this program is interrupted.
struct Emulation {
    is_ours: bool,
}

impl Emulation {
    const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";
    /// What the emulator's package has the system tell the kernel at the next boot.
    const RULE: &str = "/usr/lib/binfmt.d/qemu-aarch64.conf";
    const THEIRS: &str = "qemu-aarch64";
    /// Under a name of its own, so that one whose owner was killed is known as that, and taken over.
    const OURS: &str = "roam-xtask-aarch64";

    fn register() -> Result<Self> {
        let directory = Path::new(Self::DIRECTORY);
        if directory.join(Self::THEIRS).exists() {
            return Ok(Self { is_ours: false });
        }
        ensure!(
            rustix::process::geteuid().is_root(),
            "only root can have the kernel run programs of another architecture"
        );
        let register = directory.join("register");
        if !register.exists() {
            let mut mount = Command::new("mount");
            mount.args(["-t", "binfmt_misc", "binfmt_misc", Self::DIRECTORY]);
            process::require(mount)?;
        }
        Self::take_back_when_interrupted()?;
        if !directory.join(Self::OURS).exists() {
            let rule = fs::read_to_string(Self::RULE)
                .with_context(|| format!("reading {}", Self::RULE))?
                .replacen(Self::THEIRS, Self::OURS, 1);
            fs::write(&register, rule)
                .with_context(|| format!("writing {}", register.display()))?;
        }
        Ok(Self { is_ours: true })
    }

    fn take_back_when_interrupted() -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        thread::spawn(move || {
            for signal in signals.forever() {
                Self::take_back();
                let _ = emulate_default_handler(signal);
            }
        });
        Ok(())
    }

    fn take_back() {
        const REMOVE: &str = "-1";
        let entry = Path::new(Self::DIRECTORY).join(Self::OURS);
        if entry.exists()
            && let Err(error) = fs::write(&entry, REMOVE)
        {
            eprintln!("{} stays registered: {error}", entry.display());
        }
    }
}

impl Drop for Emulation {
    fn drop(&mut self) {
        if self.is_ours {
            Self::take_back();
        }
    }
}
