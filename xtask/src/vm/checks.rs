//! What is run on every kernel, and what is made of its output.
//!
//! In a virtual machine the same commands are lines of its first program, so the output comes through a
//! serial port, with lines in between that start with [`MARK`].

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::artifacts::TestProgram;
use crate::tally::Tally;
use crate::{machine, process, scratch};

/// Starts the lines that are not output of a check.
pub(super) const MARK: &str = "@vm";

/// The tests that are run of a program, as its arguments: what depends on the kernel. Text alone is tested
/// on the machine that builds it.
const TESTS: [(&str, &[&str]); 3] = [
    ("attach", &["--include-ignored"]),
    // The other one prints how long a call has hung, which an emulated processor makes longer.
    (
        "cli",
        &[
            "--ignored",
            "--skip",
            "registry_is_dumped_without_the_privilege",
        ],
    ),
    // Not the witness, bpftrace: with its libraries it is bigger than all the rest.
    (
        "end_to_end",
        &[
            "--include-ignored",
            "the_registry_shows_every_hang",
            "probes_attached_",
            "a_dump_by_probes_leaves_the_sites_as_they_were",
            "an_interrupt_ends_the_watching",
        ],
    ),
];

/// The check that says how the kernel attaches; the others are tests.
const DOCTOR: &str = "doctor";

/// Everything that is run, and what that needs.
pub(super) struct Checks {
    pub(super) tests: Vec<TestProgram>,
    pub(super) trace: PathBuf,
    pub(super) demo: PathBuf,
    /// Where cargo would start the tests.
    pub(super) package: PathBuf,
}

/// What came of the checks on one kernel.
pub(super) struct Verdict {
    /// As `uname -r` has it.
    pub(super) release: String,
    /// Where it ran.
    pub(super) place: String,
    /// How it attaches, as the tool itself says.
    pub(super) attaching: Option<String>,
    pub(super) tally: Tally,
}

impl Checks {
    /// Name, program and arguments of each.
    pub(super) fn commands(&self) -> Vec<(&str, &PathBuf, Vec<&str>)> {
        let doctor = (DOCTOR, &self.trace, vec!["doctor", "--color", "never"]);
        let tests = self.tests.iter().filter_map(|test| {
            let (_, selected) = TESTS.iter().find(|(name, _)| *name == test.name)?;
            // Before Linux 6.10 what one test attaches is in the processes of all others too.
            let mut arguments = vec!["--test-threads", "1"];
            arguments.extend(*selected);
            Some((test.name.as_str(), &test.path, arguments))
        });
        [doctor].into_iter().chain(tests).collect()
    }

    /// What the tests want to find in their environment.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CARGO_MANIFEST_DIR", self.package.display().to_string()),
            (
                "INSTA_WORKSPACE_ROOT",
                scratch::root().display().to_string(),
            ),
            ("INSTA_UPDATE", "no".to_owned()),
        ]
    }
}

/// Runs the checks on the running kernel.
pub(super) fn run_here(checks: &Checks) -> Result<Verdict> {
    machine::prepare_to_attach()?;
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut judge = Judge::new(release, "this machine".to_owned());
    for (name, program, arguments) in checks.commands() {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(checks.environment())
            .current_dir(&checks.package);
        judge.start(name);
        let finished = process::show(command)?;
        judge.output(&finished.text);
        judge.end(finished.success);
    }
    Ok(judge.verdict())
}

/// Makes a verdict of what the checks print.
pub(super) struct Judge {
    verdict: Verdict,
    name: String,
    text: String,
}

impl Judge {
    pub(super) fn new(release: String, place: String) -> Self {
        Self {
            verdict: Verdict {
                release,
                place,
                attaching: None,
                tally: Tally::default(),
            },
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
        if self.name == DOCTOR {
            self.verdict.attaching = attaching(&self.text);
            let expected = expected(&self.verdict.release);
            let actual = self.verdict.attaching.as_deref().unwrap_or_default();
            let as_expected = expected.is_some_and(|expected| actual.contains(expected));
            if !as_expected {
                println!("expected this kernel to attach {expected:?}, found {actual:?}");
            }
            self.verdict.tally += Tally::one(as_expected);
            return;
        }
        let tally = Tally::of_cargo_test(&self.text);
        self.verdict.tally += tally;
        if tally == Tally::default() || (!success && tally.failed == 0) {
            // It ended before it could say what failed.
            self.verdict.tally += Tally::one(false);
        }
    }

    /// A check did not end, or the machine did.
    pub(super) fn fail(&mut self, problem: &str) {
        println!("{problem}");
        self.verdict.tally += Tally::one(false);
    }

    pub(super) fn verdict(self) -> Verdict {
        self.verdict
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

/// The release in the line that a machine starts with.
pub(super) fn release(begin: &str) -> Result<String> {
    begin
        .rsplit(' ')
        .next()
        .map(str::to_owned)
        .context("no release")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(release: &str, checks: &[(&str, &str, bool)], passed: u64, failed: u64) {
        let mut judge = Judge::new(release.to_owned(), String::new());
        for (name, text, success) in checks {
            judge.start(name);
            judge.output(text);
            judge.end(*success);
        }
        assert_eq!(judge.verdict().tally, Tally { passed, failed });
    }

    #[test]
    fn the_way_of_attaching_must_be_the_kernels_best() {
        let by_events =
            "ok    kernel        Linux 6.1\nok    attaching     by perf events and more; why";
        let by_multi = "ok    attaching     by uprobe_multi";
        check("6.1.0-56-cloud-amd64", &[(DOCTOR, by_events, true)], 1, 0);
        check("6.1.0-56-cloud-amd64", &[(DOCTOR, by_multi, true)], 0, 1);
        check(
            "6.12.117+deb12-cloud-amd64",
            &[(DOCTOR, by_multi, true)],
            1,
            0,
        );
        check(
            "6.12.117+deb12-cloud-amd64",
            &[(DOCTOR, by_events, true)],
            0,
            1,
        );
        let refused = "todo  attaching     by uprobe_multi is refused";
        check("6.12.117", &[(DOCTOR, refused, false)], 0, 1);
    }

    #[test]
    fn a_test_program_that_says_nothing_has_failed() {
        check(
            "6.1",
            &[("attach", "test result: ok. 12 passed; 0 failed", true)],
            12,
            0,
        );
        check(
            "6.1",
            &[("attach", "test result: FAILED. 11 passed; 1 failed", false)],
            11,
            1,
        );
        check("6.1", &[("attach", "", true)], 0, 1);
        check(
            "6.1",
            &[("attach", "test result: ok. 12 passed; 0 failed", false)],
            12,
            1,
        );
    }
}
