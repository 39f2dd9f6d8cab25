//! Compiles every published crate that depends on roam-session against the drop-in, with all features.

use anyhow::Result;

use crate::process;
use crate::scratch::{self, Crate, Session};
use crate::tally::Tally;

const DEPENDENTS: [&str; 7] = [
    "roam",
    "roam-stream",
    "roam-shm",
    "roam-websocket",
    "roam-http-bridge",
    "roam-tracing",
    "roam-session",
];

/// Nobody can resolve it any more: it needs museair 0.4, of which every version is yanked. It changes how
/// facet-postcard decodes and nothing in roam.
const UNRESOLVABLE: &str = "jit";

/// One test per crate.
pub(crate) fn run(session: &Session) -> Result<Tally> {
    let mut published = scratch::published(&DEPENDENTS)?;
    for package in &mut published {
        package.features.retain(|feature| feature != UNRESOLVABLE);
    }
    let dependencies: Vec<_> = published
        .iter()
        .map(|package| (package.name.as_str(), package.features.as_slice()))
        .collect();
    let project = Crate::write("dependents", &dependencies, session)?;
    let mut tally = Tally::default();
    for package in &published {
        println!(
            "{} {} with {:?}",
            package.name,
            scratch::ROAM,
            package.features
        );
        let check = project.cargo(&format!("check --quiet --package {}", package.name));
        tally += Tally::one(process::show(check)?.success);
    }
    Ok(tally)
}
