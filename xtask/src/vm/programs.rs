//! The programs that are checked, and what they need.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::checks::Checks;
use crate::{artifacts, process, scratch};

/// Cargo, to test release builds: an emulated processor takes long enough for those.
pub(crate) fn release_tests() -> Command {
    let mut cargo = process::cargo(["test", "--release"]);
    cargo
        .args(["--package", "roam-trace", "--package", "demo"])
        .current_dir(scratch::root());
    cargo
}

/// Builds the tool's integration tests and, since there are such of both, the tool and the demo.
pub(super) fn build() -> Result<Checks> {
    let mut tests = release_tests();
    tests.args(["--test", "*", "--no-run"]);
    let mut tests = artifacts::test_programs(tests, &[])?;
    // These want a whole machine: a compiler, tools that strip, control groups.
    tests.retain(|test| test.name != "faults" && test.package.ends_with("roam-trace"));
    ensure!(!tests.is_empty(), "roam-trace has no integration tests");

    let built = scratch::target_directory().join("release");
    Ok(Checks {
        tests,
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
        .map(PathBuf::from)
        .collect())
}
