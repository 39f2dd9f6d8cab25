//! Has cargo build test programs, and says where it put them. Runs none of them.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

/// A program of tests.
pub(crate) struct TestProgram {
    /// The name of the file or crate whose tests it has.
    pub(crate) name: String,
    /// The package's directory, where cargo would start it.
    pub(crate) package: PathBuf,
    pub(crate) path: PathBuf,
}

/// Runs a `cargo` that builds tests and does not run them, and sorts what comes of it by name. `rustc` is for the
/// compiler alone, where `cargo` is to hand on such arguments.
pub(crate) fn test_programs(mut cargo: Command, rustc: &[&str]) -> Result<Vec<TestProgram>> {
    cargo.args(["--message-format", "json-render-diagnostics"]);
    if !rustc.is_empty() {
        cargo.arg("--").args(rustc);
    }
    let mut cargo = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let messages = cargo.stdout.take().context("cargo's output")?;
    let mut programs = Vec::new();
    for message in Message::parse_stream(BufReader::new(messages)) {
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
    ensure!(cargo.wait()?.success(), "building the tests failed");
    programs.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    Ok(programs)
}
