//! Cargo projects generated under `target/scratch`, and which roam-session they are built on. Never
//! touches a tracked file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};

use crate::{paths, process};

/// The version of the published roam family that the drop-in serves.
pub(crate) const ROAM: &str = "0.6.0";

/// The roam-session that is tested.
#[derive(Clone, Debug)]
pub(crate) enum Session {
    Published,
    DropIn(PathBuf),
}

impl Session {
    /// The crate in this repository.
    pub(crate) fn ours() -> Self {
        Self::DropIn(paths::root().join("roam-session"))
    }

    /// Adds the `[patch.crates-io]` entry that selects it.
    pub(crate) fn select(&self, manifest: &mut DocumentMut) -> Result<()> {
        if let Self::DropIn(path) = self {
            let path = path
                .canonicalize()
                .with_context(|| format!("no drop-in at {}", path.display()))?;
            patch(manifest, "roam-session", &path);
        }
        Ok(())
    }
}

/// Adds a path to `[patch.crates-io]`.
pub(crate) fn patch(manifest: &mut DocumentMut, name: &str, path: &Path) {
    let mut entry = InlineTable::new();
    entry.insert("path", path.to_string_lossy().as_ref().into());
    let registries = manifest["patch"].or_insert(implicit_table());
    registries["crates-io"].or_insert(implicit_table())[name] =
        Item::Value(Value::InlineTable(entry));
}

fn implicit_table() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// An empty crate that depends on published crates, each with all of the features named.
pub(crate) struct Crate {
    directory: PathBuf,
}

impl Crate {
    /// Writes it. The workspace's lock file is its start, so that the versions are the recorded ones.
    pub(crate) fn write(
        name: &str,
        dependencies: &[(&str, &[String])],
        session: &Session,
    ) -> Result<Self> {
        let directory = paths::scratch().join(name);
        fs::create_dir_all(directory.join("src"))?;
        fs::write(directory.join("src/lib.rs"), "")?;
        let mut manifest: DocumentMut = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\npublish = false\n\n[workspace]\n\n[dependencies]\n"
        )
        .parse()?;
        for (dependency, features) in dependencies {
            let mut entry = InlineTable::new();
            entry.insert("version", format!("={ROAM}").into());
            entry.insert("features", Value::Array(features.iter().collect()));
            manifest["dependencies"][dependency] = Item::Value(Value::InlineTable(entry));
        }
        session.select(&mut manifest)?;
        fs::write(directory.join("Cargo.toml"), manifest.to_string())?;
        copy_lock(&directory)?;
        Ok(Self { directory })
    }

    /// What a program on roam depends on at least: the framework, and a transport.
    pub(crate) fn application(session: &Session) -> Result<Self> {
        Self::write(
            "application",
            &[("roam", &[]), ("roam-stream", &[])],
            session,
        )
    }

    /// `cargo` inside it.
    pub(crate) fn cargo(&self, arguments: &str) -> Command {
        cargo_in(&self.directory, arguments)
    }

    /// What cargo resolves; sources that are missing are fetched into cargo's own cache.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        MetadataCommand::new()
            .current_dir(&self.directory)
            .exec()
            .with_context(|| format!("resolving {}", self.directory.display()))
    }
}

/// Gives a generated project the versions that the workspace has.
pub(crate) fn copy_lock(project: &Path) -> Result<()> {
    fs::copy(paths::root().join("Cargo.lock"), project.join("Cargo.lock"))?;
    Ok(())
}

/// `cargo` in a directory, building beside the workspace and as that does: what they have in common, nearly
/// everything, is compiled once.
pub(crate) fn cargo_in(directory: &Path, arguments: &str) -> Command {
    let mut command = process::cargo("--config");
    command
        .arg(paths::root().join(".cargo/config.toml"))
        .args(arguments.split_ascii_whitespace())
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", paths::target());
    command
}

/// Resolves the published `names` and hands back, for each, its source in cargo's cache and its features.
pub(crate) fn published(names: &[&str]) -> Result<Vec<Published>> {
    let dependencies: Vec<(&str, &[String])> = names.iter().map(|name| (*name, &[][..])).collect();
    let metadata = Crate::write("sources", &dependencies, &Session::Published)?.metadata()?;
    names
        .iter()
        .map(|name| {
            let is_wanted = |package: &&cargo_metadata::Package| {
                package.name == *name && package.version.to_string() == ROAM
            };
            let package = metadata.packages.iter().find(is_wanted);
            let package = package.with_context(|| format!("{name} {ROAM} is not resolved"))?;
            let source = package.manifest_path.parent();
            Ok(Published {
                name: (*name).to_owned(),
                source: source.context("a manifest without a directory")?.into(),
                features: package.features.keys().cloned().collect(),
            })
        })
        .collect()
}

/// A published crate of the roam family.
pub(crate) struct Published {
    pub(crate) name: String,
    pub(crate) source: PathBuf,
    pub(crate) features: Vec<String>,
}
