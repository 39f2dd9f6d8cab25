//! Compares the public API of a drop-in roam-session with the published one's, item by item, by
//! rustdoc's JSON. Additions are allowed and shown.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};
use public_api::PublicApi;

use crate::process;
use crate::scratch::{self, Crate, Session};
use crate::tally::Tally;

const SESSION: &str = "roam-session";
/// Writes the JSON that `public-api` reads, should the toolchain in use write another version of it.
const KNOWN_TOOLCHAIN: &str = "1.95.0";
/// Unstable auto traits: no program on a stable compiler can name them.
const UNNAMEABLE: [&str; 2] = ["core::marker::Freeze", "core::marker::UnsafeUnpin"];

/// Fails for every public item of the published crate that is missing or different.
pub(crate) fn run(session: &Session) -> Result<Tally> {
    let published = surface(&Session::Published)?;
    let judged = surface(session)?;
    for item in judged.difference(&published) {
        println!("added    {item}");
    }
    let missing: Vec<_> = published.difference(&judged).collect();
    for item in &missing {
        println!("MISSING  {item}");
    }
    let failed = missing.len() as u64;
    Ok(Tally {
        passed: published.len() as u64 - failed,
        failed,
    })
}

/// Every public item with all features of the published crate, as one line of Rust each.
fn surface(session: &Session) -> Result<BTreeSet<String>> {
    let published = scratch::published(&[SESSION])?.remove(0);
    let project = Crate::write("api", &[(SESSION, &published.features)], session)?;
    let api = match document(&project, None) {
        Ok(api) => api,
        Err(error) => {
            println!("{error:#}; trying Rust {KNOWN_TOOLCHAIN}");
            let mut install = Command::new("rustup");
            install.args([
                "toolchain",
                "install",
                "--profile",
                "minimal",
                KNOWN_TOOLCHAIN,
            ]);
            process::require(install)?;
            document(&project, Some(KNOWN_TOOLCHAIN))?
        }
    };
    let items = api.items().map(ToString::to_string);
    Ok(items
        .filter(|item| !UNNAMEABLE.iter().any(|name| item.contains(name)))
        .collect())
}

fn document(project: &Crate, toolchain: Option<&str>) -> Result<PublicApi> {
    let target = scratch::directory().join("api-target");
    let mut command = project.cargo(&["rustdoc", "--package", SESSION]);
    command.args([
        "--",
        "-Z",
        "unstable-options",
        "--output-format",
        "json",
        "--cap-lints",
        "allow",
    ]);
    // A build of its own: this variable rebuilds what was built without it. It makes a stable rustdoc
    // write JSON, so that nobody needs a nightly one.
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target);
    if let Some(toolchain) = toolchain {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    let finished = process::capture(command)?;
    if !finished.success {
        bail!("rustdoc failed:\n{}", finished.tail(40));
    }
    public_api::Builder::from_rustdoc_json(target.join("doc/roam_session.json"))
        .omit_blanket_impls(true)
        .build()
        .context("this toolchain's rustdoc JSON is not the version that public-api reads")
}
