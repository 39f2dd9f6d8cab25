//! Lets two processes talk, one built on the published roam-session and one on the drop-in, in every
//! pairing, and compares what they print. What they say to each other is `interop/peer`'s business.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, Process};
use crate::tally::Tally;
use crate::{paths, scratch};

/// Several times what a run takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// A program of `interop`, built on one of the two sessions.
#[derive(Clone)]
pub(crate) struct Build {
    kind: &'static str,
    executable: PathBuf,
}

impl Build {
    /// Builds `name` of `interop/KIND`.
    pub(crate) fn of(kind: &'static str, name: &str, options: &str) -> Result<Self> {
        let binary = format!("{name}-{kind}");
        let project = paths::root().join("testing/interop").join(kind);
        let build = format!("build --bin {binary} {options}");
        process::require(scratch::cargo_in(&project, &build))?;
        let is_release = options.contains("--release");
        let profile = if is_release { "release" } else { "debug" };
        Ok(Self {
            kind,
            executable: paths::target().join(profile).join(binary),
        })
    }

    /// The builds of the peer to compare: the published one, and the drop-in or, to test the task itself, the same
    /// again.
    pub(crate) fn peers(published: bool) -> Result<(Self, Self)> {
        let reference = Self::of("published", "peer", "")?;
        let tested = match published {
            true => reference.clone(),
            false => Self::of("drop-in", "peer", "")?,
        };
        Ok((reference, tested))
    }

    pub(crate) fn command(&self) -> Command {
        Command::new(&self.executable)
    }

    /// Runs it and reads one number from each line that it prints.
    pub(crate) fn numbers(&self, configure: impl FnOnce(&mut Command)) -> Result<Vec<f64>> {
        let mut command = self.command();
        configure(&mut command);
        let text = process::read(command)?;
        let numbers: Result<_, _> = text.lines().map(str::parse).collect();
        numbers.with_context(|| format!("{} said:\n{text}", self.executable.display()))
    }
}

/// Runs every pairing. The published pair runs twice: its second run shows that transcripts repeat.
pub(crate) fn run(published: bool) -> Result<Tally> {
    let (reference, tested) = Build::peers(published)?;
    let expected = Transcript::of_published(&reference)?;
    ensure!(
        expected.complete,
        "the published pair itself did not finish"
    );
    let mut sum = Tally::default();
    let pairs = [
        (&reference, &reference),
        (&reference, &tested),
        (&tested, &reference),
        (&tested, &tested),
    ];
    for (index, (server, client)) in pairs.into_iter().enumerate() {
        let actual = match index {
            0 => Transcript::of_published(&reference)?,
            _ => Transcript::of(server, client)?,
        };
        let tally = expected.compare(&actual);
        println!("{} server, {} client: {tally}", server.kind, client.kind);
        sum += tally;
    }
    Ok(sum)
}

/// What a client printed, by scenario.
struct Transcript {
    scenarios: Vec<(String, Vec<String>)>,
    complete: bool,
}

impl Transcript {
    /// That of the published pair, which now and then hangs by itself.
    fn of_published(build: &Build) -> Result<Self> {
        let first = Self::of(build, build)?;
        match first.complete {
            true => Ok(first),
            false => Self::of(build, build),
        }
    }

    fn of(server: &Build, client: &Build) -> Result<Self> {
        // Short, since a socket's path is limited to 108 bytes.
        let directory = std::env::temp_dir().join(format!("interop-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let talk = || {
            let socket = directory.join("socket");
            for left_over in std::fs::read_dir(&directory)? {
                std::fs::remove_file(left_over?.path())?;
            }
            let mut command = server.command();
            command.arg("server").arg(&socket);
            let server = Process::start(command)?;
            server.wait_for(Duration::from_secs(10), |line| line == "ready")?;
            let mut command = client.command();
            command.arg("client").arg(&socket);
            let finished = Process::start(command)?.finish(DEADLINE)?;
            server
                .finish(Duration::from_secs(10))
                .context("the serving peer")?;
            Ok(finished)
        };
        let finished: Result<_> = talk();
        std::fs::remove_dir_all(&directory)?;
        let finished = finished?;
        Ok(Self {
            scenarios: scenarios(&finished.text),
            complete: finished.success && !finished.text.contains("HUNG"),
        })
    }

    /// One test per scenario that either has.
    fn compare(&self, actual: &Self) -> Tally {
        let mut tally = Tally::default();
        for (name, expected) in &self.scenarios {
            let found = actual.scenarios.iter().find(|(other, _)| other == name);
            let lines = found.map_or(&[][..], |(_, lines)| lines);
            let same = found.is_some() && lines == expected;
            if !same {
                report(name, expected, lines);
            }
            tally += Tally::one(same);
        }
        if !actual.complete {
            println!("the client did not come to its end");
            tally += Tally::one(false);
        }
        tally
    }
}

fn scenarios(text: &str) -> Vec<(String, Vec<String>)> {
    let mut scenarios: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            scenarios.push((name.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = scenarios.last_mut() {
            lines.push(line.to_owned());
        }
    }
    scenarios
}

/// Shows where two transcripts part.
fn report(scenario: &str, expected: &[String], actual: &[String]) {
    let same = expected
        .iter()
        .zip(actual)
        .take_while(|(left, right)| left == right)
        .count();
    let line = |lines: &[String]| {
        lines
            .get(same)
            .map_or("(nothing)".to_owned(), |line| excerpt(line))
    };
    println!("FAILED {scenario}, line {}", same + 1);
    println!("  published: {}", line(expected));
    println!("  here:      {}", line(actual));
}

fn excerpt(line: &str) -> String {
    line.chars().take(300).collect()
}
