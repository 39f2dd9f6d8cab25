//! Counts the crates that a program compiles more with the drop-in than with the published roam-session.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::process;
use crate::scratch::{Crate, Session};
use crate::tally::Tally;

/// The drop-in's own among them.
const MOST: usize = 12;

/// One test.
pub(crate) fn run() -> Result<Tally> {
    let published = crates(&Session::Published)?;
    let ours = crates(&Session::ours())?;
    let added: Vec<_> = ours.difference(&published).cloned().collect();
    println!(
        "a program on roam compiles {} crates, with the drop-in {}, which adds {}, at most {MOST} allowed: {}",
        published.len(),
        ours.len(),
        added.len(),
        added.join(", ")
    );
    Ok(Tally::one(ours.len() <= published.len() + MOST))
}

/// The crates that are compiled into an application of roam's, and to build it, by name.
fn crates(session: &Session) -> Result<BTreeSet<String>> {
    let application = Crate::application(session)?;
    let tree = process::read(
        application.cargo("tree --edges normal,build --prefix none --no-dedupe --format {p}"),
    )?;
    let crates = tree.lines().map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        format!("{} {}", word(), word())
    });
    Ok(crates.collect())
}
