//! What is run on every kernel, and what its output and its status mean.
//!
//! In a virtual machine the same commands are lines of its first program, so the output comes through a
//! serial port, with lines in between that start with [`MARK`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::tally::Tally;
use crate::test_program::{How, TestProgram};
use crate::{machine, parts, paths, process};

/// Starts the lines that are not output of a check.
pub(super) const MARK: &str = "@vm";

/// The tests that are run of a program: what depends on the kernel. Text alone is tested on the machine that
/// builds it.
const TESTS: [(&str, &[&str]); 3] = [
    ("attach", &["--include-ignored"]),
    // The other one prints how long a call has hung, which an emulated processor makes longer.
    (
        "cli",
        &[
            "--ignored",
            "--skip=registry_is_dumped_without_the_privilege",
            // An emulated processor takes longer than processes are followed for.
            "--skip=processes_of_other_users_are_followed",
            // There are no shells, and busybox has another setsid.
            "--skip=completion::",
            "--skip=top::",
        ],
    ),
    // Not the witness, bpftrace: with its libraries it is bigger than all the rest.
    (
        "end_to_end",
        &[
            "--include-ignored",
            "the_registry_shows_every_hang",
            "probes_attached_",
            "a_hang_that_only_probes_report",
            "a_dump_by_probes_leaves_the_sites_as_they_were",
            "an_interrupt_ends_the_watching",
            "live_views_show_what_the_demo_does",
        ],
    ),
];

/// The check that says how the kernel attaches; each of the others is a test.
const DOCTOR: &str = "doctor";

/// Longer than any check takes.
const LIMIT: Duration = Duration::from_secs(600);

/// Everything that is run, and what that needs.
pub(super) struct Checks {
    pub(super) commands: Vec<Check>,
    /// All that is started.
    pub(super) programs: Vec<PathBuf>,
    /// Where cargo would start the tests.
    pub(super) package: PathBuf,
}

/// A command that succeeds or fails.
pub(super) struct Check {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

impl Checks {
    /// Builds the tool's integration tests for release, since an emulated processor takes long enough for those,
    /// and the tool and the demo with them.
    pub(super) fn build() -> Result<Self> {
        let tests = parts::release_tests("*")?;
        let package = paths::root().join("roam-trace");
        let built = paths::target().join("release");
        let trace = built.join("roam-trace");
        let mut commands = vec![Check {
            name: DOCTOR.to_owned(),
            program: trace.clone(),
            arguments: ["doctor", "--color", "never"].map(str::to_owned).into(),
        }];
        let mut programs = vec![trace, built.join("roam-demo")];
        for (name, selection) in TESTS {
            let is_wanted = |test: &&TestProgram| test.name == name && test.package == package;
            let program = tests.iter().find(is_wanted);
            let program = program.with_context(|| format!("roam-trace has no tests {name}"))?;
            let how = How {
                selection,
                ..How::default()
            };
            for test in program.tests(how)? {
                commands.push(Check {
                    name: format!("{name}::{test}"),
                    program: program.path.clone(),
                    arguments: vec!["--include-ignored".to_owned(), "--exact".to_owned(), test],
                });
            }
            programs.push(program.path.clone());
        }
        Ok(Self {
            commands,
            programs,
            package,
        })
    }

    /// One command.
    pub(super) fn one(command: Check, programs: Vec<PathBuf>) -> Self {
        Self {
            commands: vec![command],
            programs,
            package: paths::root().join("roam-trace"),
        }
    }

    /// What the tests want to find in their environment.
    pub(super) fn environment(&self) -> [(&'static str, &Path); 3] {
        [
            ("CARGO_MANIFEST_DIR", &self.package),
            ("INSTA_WORKSPACE_ROOT", paths::root()),
            ("INSTA_UPDATE", Path::new("no")),
        ]
    }
}

/// Runs the checks on the running kernel.
pub(super) fn run_here(checks: &Checks) -> Result<Results> {
    machine::prepare_to_attach()?;
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut results = Results::new(release, "this machine");
    for check in &checks.commands {
        let mut command = Command::new(&check.program);
        command
            .args(&check.arguments)
            .envs(checks.environment())
            .current_dir(&checks.package);
        results.start(&check.name);
        match process::capture_within(LIMIT, command) {
            Ok(finished) => {
                results.output(&finished.text);
                results.end(finished.success);
            }
            Err(error) => results.fail(&format!("{}: {error:#}", check.name)),
        }
    }
    Ok(results)
}

/// The results of the checks on one kernel.
pub(super) struct Results {
    /// As `uname -r` has it.
    pub(super) release: String,
    /// Where it ran.
    pub(super) place: &'static str,
    /// How it attaches, as the tool itself says.
    pub(super) attaching: Option<String>,
    pub(super) tally: Tally,
    /// The last check, and what it has printed. A failed one was shown.
    name: String,
    pub(super) text: String,
}

impl Results {
    pub(super) fn new(release: String, place: &'static str) -> Self {
        Self {
            release,
            place,
            attaching: None,
            tally: Tally::default(),
            name: String::new(),
            text: String::new(),
        }
    }

    /// A check begins.
    pub(super) fn start(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.text.clear();
    }

    /// It printed something.
    pub(super) fn output(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// It ended.
    pub(super) fn end(&mut self, success: bool) {
        let mut passed = success;
        if self.name == DOCTOR {
            // What it says of the machine may be bad news.
            self.attaching = attaching(&self.text);
            let expected = expected(&self.release);
            let actual = self.attaching.as_deref().unwrap_or_default();
            passed = expected.is_some_and(|expected| actual.contains(expected));
        }
        self.tally += Tally::one(passed);
        if !passed {
            println!("FAILED {} {}\n{}", self.release, self.name, self.text);
        }
    }

    /// A check did not end, or the machine did.
    pub(super) fn fail(&mut self, problem: &str) {
        println!("{problem}");
        self.tally += Tally::one(false);
    }
}

/// What the tool's `doctor` says of attaching.
fn attaching(doctor: &str) -> Option<String> {
    doctor.lines().find_map(|line| {
        let (verdict, rest) = line.split_once(char::is_whitespace)?;
        let text = rest.trim_start().strip_prefix("attaching")?.trim();
        (verdict == "ok").then(|| text.split(';').next().unwrap_or(text).to_owned())
    })
}

/// How a kernel must attach. The tool tries; only here it is known which kernel can do what.
fn expected(release: &str) -> Option<&'static str> {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(match (major, minor) >= (6, 6) {
        true => "by uprobe_multi",
        false => "by perf events",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(release: &str, name: &str, text: &str, success: bool, passed: bool) {
        let mut results = Results::new(release.to_owned(), "");
        results.start(name);
        results.output(text);
        results.end(success);
        assert_eq!(results.tally, Tally::one(passed));
    }

    #[test]
    fn the_way_of_attaching_must_be_the_kernels_best() {
        let by_events =
            "ok    kernel        Linux 6.1\nok    attaching     by perf events and more; why";
        let by_multi = "ok    attaching     by uprobe_multi";
        let refused = "no    attaching     by uprobe_multi is refused";
        check("6.1.0-56-cloud-amd64", DOCTOR, by_events, true, true);
        check("6.1.0-56-cloud-amd64", DOCTOR, by_multi, true, false);
        check("6.12.117+deb12-cloud-amd64", DOCTOR, by_multi, true, true);
        check("6.12.117+deb12-cloud-amd64", DOCTOR, by_events, true, false);
        check("6.12.117", DOCTOR, refused, false, false);
    }

    #[test]
    fn a_test_passes_by_its_status() {
        check("6.1", "attach::seeds", "test seeds ... ok", true, true);
        check("6.1", "attach::seeds", "", false, false);
    }
}
