//! Compares the public API of a drop-in roam-session with the published one's, item by item, by
//! rustdoc's JSON. Additions are allowed and shown.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use public_api::PublicApi;

use crate::scratch::{self, Crate, Session};
use crate::tally::Tally;
use crate::{install, paths, process};

mod surface;

const SESSION: &str = "roam-session";
/// Where the drop-in's diagnostic module comes from.
const DIAGNOSTIC: &str = "roam-diagnostic";
/// Writes the JSON that `public-api` reads, should the toolchain in use write another version of it.
const KNOWN_TOOLCHAIN: &str = "1.95.0";
/// Fails for every public item of the published crate that is missing or different.
pub(crate) fn run(session: &Session) -> Result<Tally> {
    let published = items(&Session::Published)?;
    let tested = items(session)?;
    for item in tested.difference(&published) {
        println!("added    {item}");
    }
    let missing: Vec<_> = published.difference(&tested).collect();
    for item in &missing {
        println!("MISSING  {item}");
    }
    let failed = missing.len() as u64;
    Ok(Tally {
        passed: published.len() as u64 - failed,
        failed,
    })
}

/// Every public item with all features of the published crate.
fn items(session: &Session) -> Result<BTreeSet<String>> {
    let published = scratch::published(&[SESSION])?.remove(0);
    let project = Crate::write("api", &[(SESSION, &published.features)], session)?;
    let api = document(&project, SESSION)?;
    let mut items = surface::of_session(&api);
    if project
        .metadata()?
        .packages
        .iter()
        .any(|package| package.name == DIAGNOSTIC)
    {
        let diagnostic = document(&project, DIAGNOSTIC)?;
        items.extend(surface::of_reexports(&api, &diagnostic));
    }
    Ok(items)
}

fn document(project: &Crate, package: &str) -> Result<PublicApi> {
    write_json(project, package, None)?;
    read_json(package).or_else(|error| {
        println!(
            "this toolchain's rustdoc JSON cannot be read ({error}); trying Rust {KNOWN_TOOLCHAIN}"
        );
        install::toolchain(KNOWN_TOOLCHAIN, &[])?;
        write_json(project, package, Some(KNOWN_TOOLCHAIN))?;
        read_json(package).context("reading rustdoc's JSON")
    })
}

fn write_json(project: &Crate, package: &str, toolchain: Option<&str>) -> Result<()> {
    let mut command = project.cargo(&format!(
        "rustdoc --quiet --package {package} -- -Z unstable-options --output-format json --cap-lints allow"
    ));
    command.env("RUSTDOC", rustdoc()?);
    if let Some(toolchain) = toolchain {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    process::require(command)
}

/// A stable rustdoc that writes JSON, so that nobody needs a nightly one. In the environment of cargo, the variable
/// would have everything rebuilt that was built without it.
fn rustdoc() -> Result<PathBuf> {
    let script = paths::scratch().join("rustdoc");
    fs::write(
        &script,
        "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n",
    )?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    Ok(script)
}

fn read_json(package: &str) -> Result<PublicApi, public_api::Error> {
    let name = package.replace('-', "_");
    public_api::Builder::from_rustdoc_json(paths::target().join(format!("doc/{name}.json")))
        .omit_blanket_impls(true)
        .build()
}
