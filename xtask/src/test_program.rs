//! Programs of tests: has cargo build them and runs each of their tests in a process of its own. So a test is
//! counted by how its process ends, none sees what another one left behind, and one that hangs is ended.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

use crate::tally::Tally;
use crate::{paths, pool, process};

/// No test takes that long, on an emulated processor either: what still runs then waits for nothing.
const LIMIT: Duration = Duration::from_secs(600);

/// A program of tests.
pub(crate) struct TestProgram {
    /// The name of the file or crate whose tests it has.
    pub(crate) name: String,
    /// The package's directory, where cargo would start it.
    pub(crate) package: PathBuf,
    pub(crate) path: PathBuf,
}

/// Runs a `cargo` that builds tests and does not run them. `rustc` is for the compiler alone, where `cargo` is to
/// hand on such arguments.
pub(crate) fn build(mut cargo: Command, rustc: &[&str]) -> Result<Vec<TestProgram>> {
    cargo.args(["--message-format", "json-render-diagnostics"]);
    if !rustc.is_empty() {
        cargo.arg("--").args(rustc);
    }
    let messages = process::read(cargo)?;
    let mut programs = Vec::new();
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message.context("cargo's messages")?
            && artifact.profile.test
            && let Some(path) = artifact.executable
        {
            let package = artifact.manifest_path.parent();
            programs.push(TestProgram {
                name: artifact.target.name,
                package: package.context("a manifest without a directory")?.into(),
                path: path.into(),
            });
        }
    }
    programs.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    Ok(programs)
}

/// How tests are run.
#[derive(Clone, Copy, Default)]
pub(crate) struct How<'a> {
    /// Arguments of the programs that select tests.
    pub(crate) selection: &'a [&'a str],
    /// One after the other, in place of as many at once as there are processors.
    pub(crate) one_by_one: bool,
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// The program that starts them.
    pub(crate) emulator: Option<&'a str>,
}

/// Runs the selected tests of all programs. That there are none is an error.
pub(crate) fn run<'a>(
    programs: impl IntoIterator<Item = &'a TestProgram>,
    how: How,
) -> Result<Tally> {
    let mut sum = Tally::default();
    for program in programs {
        sum += program.run(how)?;
    }
    ensure!(sum != Tally::default(), "no test ran");
    Ok(sum)
}

impl TestProgram {
    pub(crate) fn run(&self, how: How) -> Result<Tally> {
        let began = Instant::now();
        let tests = self.tests(how)?;
        let at_once = if how.one_by_one {
            1
        } else {
            pool::processors()
        };
        let mut sum = Tally::default();
        for tally in pool::map(&tests, at_once, |test| self.run_test(test, how)) {
            sum += tally;
        }
        if !tests.is_empty() {
            let seconds = began.elapsed().as_secs_f64();
            println!("{}: {sum}, {seconds:.1} s", self.title());
        }
        Ok(sum)
    }

    /// The names of the selected tests.
    pub(crate) fn tests(&self, how: How) -> Result<Vec<String>> {
        const IGNORED: &str = "--ignored";
        let list = |arguments: &[&str]| -> Result<Vec<String>> {
            let mut command = self.command(how);
            command
                .args(arguments)
                .args(["--list", "--format", "terse"]);
            let names = process::read(command)?;
            let names = names.lines().filter_map(|line| line.strip_suffix(": test"));
            Ok(names.map(str::to_owned).collect())
        };
        let mut tests = list(how.selection)?;
        // A list has the ignored ones too, unless it has no other.
        if !how.selection.iter().any(|word| word.ends_with("ignored")) {
            let ignored = list(&[how.selection, &[IGNORED]].concat())?;
            tests.retain(|test| !ignored.contains(test));
        }
        Ok(tests)
    }

    fn run_test(&self, test: &str, how: How) -> Tally {
        let mut command = self.command(how);
        command.args(["--exact", test, "--include-ignored"]);
        let problem = match process::capture_within(LIMIT, command) {
            Ok(finished) if finished.success => return Tally::one(true),
            Ok(finished) => finished.text,
            Err(error) => format!("{error:#}"),
        };
        println!("FAILED {} {test}\n{problem}", self.title());
        Tally::one(false)
    }

    fn command(&self, how: How) -> Command {
        let mut command = match how.emulator {
            Some(emulator) => Command::new(emulator),
            None => Command::new(&self.path),
        };
        if how.emulator.is_some() {
            command.arg(&self.path);
        }
        command
            .current_dir(&self.package)
            .env("CARGO_MANIFEST_DIR", &self.package)
            .env("INSTA_WORKSPACE_ROOT", paths::root())
            .env("INSTA_UPDATE", "no")
            .envs(how.environment.iter().copied());
        command
    }

    /// Its package and its name.
    pub(crate) fn title(&self) -> String {
        let package = self.package.file_name().unwrap_or_default();
        format!("{} {}", package.display(), self.name)
    }
}
