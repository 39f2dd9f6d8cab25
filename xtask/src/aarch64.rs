//! `cargo xtask aarch64`: builds everything for AArch64 and runs its rootless tests on an emulated
//! processor.
//!
//! The kernel stays this machine's, so nothing is attached. The linker, the C library and the emulator are
//! Debian's. The standard library is rustup's or, where that cannot be had, built from Debian's sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::tally::Tally;
use crate::test_program::{self, How, TestProgram};
use crate::{install, paths, process};

const TARGET: &str = "aarch64-unknown-linux-gnu";

const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64-static";

/// Where Debian has that architecture's loader and libraries. They are written into the programs: some
/// tests start those with an empty environment, where the emulator would not learn it.
const COMPILER_FLAGS: &str = "-Clink-arg=-Wl,--dynamic-linker=/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 \
     -Clink-arg=-Wl,-rpath=/usr/aarch64-linux-gnu/lib";

/// The tests of what differs between architectures: where probes are, what a region looks like, and how both are
/// found in a live process. A package, a program, and which of its tests are run.
const TESTS: [(&str, &str, &[&str]); 10] = [
    ("roam-diagnostic", "roam_diagnostic", &[]),
    ("roam-diagnostic", "probe_sites", &[]),
    // The emulator orders memory as the processor below it does, so a race shows nothing here.
    (
        "roam-dump",
        "registry",
        &["--skip=readers_never_see_a_row_that_was_not_written"],
    ),
    // The emulator says yes to MADV_WIPEONFORK and does nothing.
    (
        "roam-dump",
        "process",
        &["--skip=a_forked_child_reports_nothing"],
    ),
    ("demo", "roam_demo", &[]),
    ("demo", "host", &[]),
    // The emulator has no netlink sockets to list others by.
    ("roam-trace", "roam_trace", &["--skip=process::sockets"]),
    ("roam-trace", "objects", &[]),
    (
        "roam-trace",
        "cli",
        &[
            "--exact",
            // The emulator maps a program as data, for nobody executes it: these want a live one's probes found.
            "--skip=bad_input::file_size_limit",
            "--skip=bad_input::switched_off",
            "--skip=dump::no_connection_yet",
            "--skip=machine::doctor_of_processes",
            "--skip=machine::list",
            // The emulator lacks the call that asks a terminal for its modes.
            "--skip=top::every_size_shows_rows_and_gives_the_terminal_back",
            "--skip=top::views_filter_details_and_help",
            "--skip=top::keys_sort_and_pause",
            "--skip=top::a_signal_ends_it_and_the_terminal_is_as_it_was",
            "--skip=top::it_can_be_suspended",
            "--skip=top::it_ends_after_a_duration",
            "--skip=top::the_screen_has_the_size_of_the_terminal",
            "--skip=top::a_terminal_that_does_not_know_its_size_is_a_usual_one",
            "--skip=top::a_process_that_ends_is_shown_as_ended",
            "--skip=top::all_finds_processes_that_start_and_drops_those_that_end",
            "--skip=top::colors_are_those_that_were_asked_for",
            "--skip=top::names_cannot_act_on_the_terminal",
            "--skip=top::it_needs_a_terminal_and_a_process",
            "--skip=top::percentiles_are_within_a_bucket_of_what_was_measured",
            "--skip=top::counts_are_those_of_the_load_itself",
            // Verdicts that depend on the process's sockets, which the emulator lets nobody list.
            "--skip=bad_input::names_with_terminal_escapes",
            "--skip=dump::hung_process",
            "--skip=follow::a_process_that_is_read_again_keeps_its_user_uptime_and_command_line",
            "--skip=follow::who_is_waited_for_is_read_too",
            "--skip=follow::why_one_is_not_followed_is_a_gap",
            "--skip=schema::dumps_follow_the_schema",
            "--skip=sockets::a_process_is_its_own_peer",
            "--skip=sockets::links_of_a_pool_are_told_apart",
            "--skip=sockets::of_a_stopped_process_every_link_is_known",
            "--skip=sockets::the_process_that_others_were_forked_from_is_the_peer",
        ],
    ),
    // Of many that take long: dumps of hangs, and the demo's own.
    (
        "roam-trace",
        "end_to_end",
        &[
            "the_registry_shows_every_hang",
            "sigusr1_works_with_every_worker_blocked",
        ],
    ),
];

/// Builds and tests.
pub(crate) fn run() -> Result<Tally> {
    let programs = build()?;
    let _registered = RegisteredEmulator::new()?;
    let mut sum = Tally::default();
    for (package, name, selection) in TESTS {
        let is_wanted =
            |program: &&TestProgram| program.name == name && program.package.ends_with(package);
        let program = programs.iter().find(is_wanted);
        let how = How {
            selection,
            // A backtrace takes an emulated processor longer than a test waits.
            environment: &[("ROAM_TRACE_TEST_SLOW", "1"), ("RUST_BACKTRACE", "0")],
            emulator: Some(EMULATOR),
            one_by_one: false,
        };
        // Each of them must have some.
        sum += test_program::run(program, how).with_context(|| format!("{package} {name}"))?;
    }
    Ok(sum)
}

/// Builds the programs of tests and, since there are integration tests of them, the tool and the demo.
pub(crate) fn build() -> Result<Vec<TestProgram>> {
    install::packages(&install::AARCH64)?;
    let has_library = process::succeeds(&format!("rustup target add {TARGET}"));
    let mut cargo = process::cargo("test --no-run --lib --target");
    cargo
        .arg(TARGET)
        // Of its own, so that it can be built while others test.
        .env("CARGO_TARGET_DIR", paths::target().join("aarch64"))
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            COMPILER_FLAGS,
        )
        .env("CC_aarch64_unknown_linux_gnu", LINKER);
    if !has_library {
        println!("rustup has no standard library for {TARGET}: building Debian's");
        install::packages(&install::STANDARD_LIBRARY)?;
        cargo
            .args(["-Z", "build-std=std,panic_abort,test"])
            // Unstable options are needed, and this compiler has them behind a word.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", install::STANDARD_LIBRARY[0].0);
    }
    for (package, name, _) in TESTS {
        cargo.args(["--package", package]);
        // A library's own tests are in a program of its name; no other is named so.
        if !name.starts_with("roam_") {
            cargo.args(["--test", name]);
        }
    }
    test_program::build(cargo, &[])
}

/// Has the kernel run programs of the other architecture by the emulator, which tests that start programs need. Where
/// it did not before, it no longer does when this is dropped: the rule keeps the emulator's file open, and with it the
/// file system.
struct RegisteredEmulator {
    is_ours: bool,
}

impl RegisteredEmulator {
    const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";
    const RULE: &str = "/usr/lib/binfmt.d/qemu-aarch64.conf";

    fn new() -> Result<Self> {
        let directory = Path::new(Self::DIRECTORY);
        let register = directory.join("register");
        if !register.exists() {
            let mount = format!("mount -t binfmt_misc binfmt_misc {}", Self::DIRECTORY);
            process::require(process::command(&mount))?;
        }
        let is_ours = !Self::entry().exists();
        if is_ours {
            ensure!(
                install::is_root(),
                "only root can have the kernel run programs of another architecture"
            );
            let rule = fs::read_to_string(Self::RULE)
                .with_context(|| format!("reading {}", Self::RULE))?;
            fs::write(&register, rule)
                .with_context(|| format!("writing {}", register.display()))?;
        }
        Ok(Self { is_ours })
    }

    fn entry() -> PathBuf {
        Path::new(Self::DIRECTORY).join("qemu-aarch64")
    }
}

impl Drop for RegisteredEmulator {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        if self.is_ours {
            let _ = fs::write(Self::entry(), "-1");
        }
    }
}
