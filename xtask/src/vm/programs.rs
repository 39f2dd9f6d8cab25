//! Builds the programs that are checked, and says where cargo put them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Message, TargetKind};

use super::checks::{Check, Checks};
use crate::{process, scratch};

/// Builds the tool, the demo and the tool's integration tests.
pub(super) fn build() -> Result<Checks> {
    let mut demo = process::cargo(["build", "--package", "demo", "--package", "roam-trace"]);
    demo.current_dir(scratch::root());
    process::require(demo)?;

    let mut tests = process::cargo([
        "test",
        "--package",
        "roam-trace",
        "--test",
        "*",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let mut cargo = tests
        .current_dir(scratch::root())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let messages = cargo.stdout.take().context("cargo's output")?;
    let mut checks = Vec::new();
    for message in Message::parse_stream(std::io::BufReader::new(messages)) {
        if let Message::CompilerArtifact(artifact) = message.context("cargo's messages")?
            && artifact.target.kind.contains(&TargetKind::Test)
            && let Some(program) = artifact.executable
        {
            checks.push(Check {
                name: artifact.target.name,
                program: program.into(),
            });
        }
    }
    ensure!(cargo.wait()?.success(), "building the tests failed");
    ensure!(!checks.is_empty(), "roam-trace has no integration tests");
    checks.sort_by(|a, b| a.name.cmp(&b.name));

    let built = scratch::target_directory().join("debug");
    Ok(Checks {
        tests: checks,
        trace: built.join("roam-trace"),
        demo: built.join("roam-demo"),
        package: scratch::root().join("roam-trace"),
    })
}

/// A command of this system's.
pub(super) fn find(command: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(command))
        .find(|path| path.is_file())
        .with_context(|| format!("no {command} in PATH"))
}

/// The shared libraries of a program, the loader among them, as the loader itself finds them.
pub(super) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("starting ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !text.contains("not found"),
        "{} misses a library:\n{text}",
        program.display()
    );
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(Into::into)
        .collect())
}
