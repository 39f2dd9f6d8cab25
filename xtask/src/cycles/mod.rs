//! `cargo xtask cycles`: fails where the files of a crate depend on one another in a cycle, folders taken
//! as units too.
//!
//! An arrow goes from the file where a path is written to the file that defines what the path names;
//! `pub use` is followed to the definition. `mod` lines and `pub use` are no arrows, and neither is what only
//! tests or loom compile. A folder's own file (`mod.rs`, or `x.rs` beside `x/`) lies in the folder, beside the
//! folder's other files: they may not need what it defines where it needs them. From outside, the folder with
//! everything in it is one unit, a sibling of the files beside it.
//!
//! Syntax alone shows no call of a method: it is counted where the name of its type or trait is written.

mod arrows;
mod components;
mod modules;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

use crate::paths;
use crate::tally::Tally;
use modules::Modules;

/// The workspace, and the cargo projects that are not members of it.
const PROJECTS: [&str; 5] = [
    ".",
    "roam-trace-ebpf",
    "testing/fuzz",
    "testing/interop/drop-in",
    "testing/interop/published",
];

/// One test per crate: that no files of it depend on one another in a cycle.
pub(crate) fn run() -> Result<Tally> {
    let mut roots = BTreeSet::new();
    for project in PROJECTS {
        roots.extend(crate_roots(&paths::root().join(project))?);
    }
    let mut tally = Tally::default();
    for root in roots {
        let source = |file: &Path| fs::read_to_string(paths::root().join(file)).ok();
        let modules = Modules::read(&root, &source)
            .with_context(|| format!("reading the modules of {}", root.display()))?;
        let cycles = components::cycles(&modules, &arrows::of(&modules));
        tally += Tally::one(cycles.is_empty());
        for cycle in cycles {
            println!("{}: {cycle}", root.display());
        }
    }
    Ok(tally)
}

/// The root files of a project's libraries and programs, as they lie in the repository.
fn crate_roots(project: &Path) -> Result<Vec<PathBuf>> {
    let metadata = MetadataCommand::new()
        .current_dir(project)
        .no_deps()
        .exec()
        .with_context(|| format!("reading the manifest in {}", project.display()))?;
    let targets = metadata
        .packages
        .iter()
        .flat_map(|package| &package.targets);
    let shipped = targets.filter(|target| {
        !(target.is_test() || target.is_bench() || target.is_example() || target.is_custom_build())
    });
    shipped
        .map(|target| {
            // Two projects share the files of the interop peer.
            let file = target.src_path.canonicalize()?;
            Ok(file.strip_prefix(paths::root().canonicalize()?)?.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests;
