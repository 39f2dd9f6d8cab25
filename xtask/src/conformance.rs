//! Runs the test suites that roam-stream and roam-shm publish on a drop-in roam-session. Keeps nothing
//! of the published crates: they are copied from cargo's own cache into the scratch directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml_edit::{Array, DocumentMut, Item, value};

use crate::paths;
use crate::scratch::{self, Session};
use crate::tally::Tally;
use crate::test_program::{self, How};

/// A published suite, as it has to be mended to run outside its own repository.
struct Suite {
    name: &'static str,
    /// Passed by the published roam-session, doc tests left out.
    expected: u64,
    /// Development dependencies that the published manifest lacks.
    dependencies: &'static [(&'static str, &'static str)],
}

const SUITES: [Suite; 2] = [
    Suite {
        name: "roam-stream",
        expected: 12,
        dependencies: &[("roam", "=0.6.0")],
    },
    Suite {
        name: "roam-shm",
        expected: 130,
        dependencies: &[
            ("roam", "=0.6.0"),
            ("roam-tracing", "=0.6.0"),
            ("facet-testhelpers", "0.43"),
            ("tempfile", "3"),
            ("tracing-subscriber", "0.3"),
            ("futures", "0.3"),
        ],
    },
];

/// Needs a crate that is not published, in both suites.
const BROKEN_TEST: &str = "virtual_connections";

/// Runs both suites and compares with what the published roam-session passes.
pub(crate) fn run(session: &Session) -> Result<Tally> {
    let workspace = write_workspace(session)?;
    // Together, so that what both need is compiled once.
    let tests = "test --workspace --lib --tests --bins --no-run";
    let programs = test_program::build(scratch::cargo_in(&workspace, tests), &[])?;
    let mut sum = Tally::default();
    for suite in &SUITES {
        let programs = programs.iter();
        let of_suite = programs.filter(|program| program.package.ends_with(suite.name));
        let mut tally = test_program::run(of_suite, How::default())?;
        println!(
            "{} {}: {tally} (published roam-session: {} passed)",
            suite.name,
            scratch::ROAM,
            suite.expected
        );
        // What did not even run has failed.
        let missing = suite.expected.saturating_sub(tally.passed);
        tally.failed = tally.failed.max(missing);
        sum += tally;
    }
    Ok(sum)
}

fn write_workspace(session: &Session) -> Result<PathBuf> {
    let workspace = paths::scratch().join("conformance");
    if workspace.exists() {
        fs::remove_dir_all(&workspace)?;
    }
    let mut manifest: DocumentMut = "[workspace]\nresolver = \"2\"\n".parse()?;
    let mut members = Array::new();
    let names = SUITES.each_ref().map(|suite| suite.name);
    for (published, suite) in scratch::published(&names)?.iter().zip(&SUITES) {
        let member = workspace.join(suite.name);
        copy_tree(&published.source, &member)?;
        mend_manifest(&member.join("Cargo.toml"), suite)?;
        members.push(suite.name);
        scratch::patch(&mut manifest, suite.name, &member);
    }
    manifest["workspace"]["members"] = value(members);
    session.select(&mut manifest)?;
    fs::write(workspace.join("Cargo.toml"), manifest.to_string())?;
    scratch::copy_lock(&workspace)?;
    Ok(workspace)
}

fn mend_manifest(path: &Path, suite: &Suite) -> Result<()> {
    let mut manifest: DocumentMut = fs::read_to_string(path)?.parse()?;
    if let Some(tests) = manifest
        .get_mut("test")
        .and_then(Item::as_array_of_tables_mut)
    {
        tests.retain(|test| test.get("name").and_then(Item::as_str) != Some(BROKEN_TEST));
    }
    let dependencies = manifest["dev-dependencies"].or_insert(toml_edit::table());
    for (name, version) in suite.dependencies {
        dependencies[name].or_insert(value(*version));
    }
    fs::write(path, manifest.to_string()).with_context(|| format!("writing {}", path.display()))
}

/// Copies sources; the published lock file would pin what the patch has to change.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if entry.file_name() != "Cargo.lock" {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
