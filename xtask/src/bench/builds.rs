//! What the drop-in adds to the time of a clean release build, in pairs.

use std::fs;

use anyhow::Result;

use super::spread::Spread;
use crate::scratch::{Crate, Session};
use crate::{paths, process};

/// A build takes too long for more.
const PAIRS: usize = 5;

pub(super) fn run() -> Result<()> {
    println!(
        "clean release build of an application on roam, drop-in against published roam-session:"
    );
    let sessions = [Session::ours(), Session::Published];
    let mut seconds = [Vec::new(), Vec::new()];
    for pair in 0..PAIRS {
        for turn in 0..sessions.len() {
            let index = (pair + turn) % sessions.len();
            seconds[index].push(build(&sessions[index])?);
        }
    }
    let [ours, published] = &seconds;
    let ratios = ours
        .iter()
        .zip(published)
        .map(|(ours, published)| ours / published);
    println!(
        "time of a build: {:.3} times the published one's",
        Spread::of(ratios.collect())
    );
    for (name, seconds) in ["drop-in", "published"].iter().zip(seconds) {
        println!("  {name}: {:.1} s", Spread::of(seconds));
    }
    Ok(())
}

/// Seconds.
fn build(session: &Session) -> Result<f64> {
    let application = Crate::application(session)?;
    let target = paths::scratch().join("builds");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    let mut build = application.cargo("build --release --quiet");
    build.env("CARGO_TARGET_DIR", target);
    Ok(process::measure(build)?.took.as_secs_f64())
}
