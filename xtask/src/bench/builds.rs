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
    let mut builds: [Vec<[f64; 2]>; 2] = [Vec::new(), Vec::new()];
    for pair in 0..PAIRS {
        for turn in 0..sessions.len() {
            let index = (pair + turn) % sessions.len();
            builds[index].push(build(&sessions[index])?);
        }
    }
    let [ours, published] = &builds;
    for (which, name) in ["time", "time of processors"].iter().enumerate() {
        let of =
            |builds: &[[f64; 2]]| Spread::of(builds.iter().map(|build| build[which]).collect());
        let pairs = ours.iter().zip(published);
        let ratios = pairs.map(|(ours, published)| ours[which] / published[which]);
        println!(
            "{name}: {:.3} times; drop-in {:.1} s, published {:.1} s",
            Spread::of(ratios.collect()),
            of(ours),
            of(published)
        );
    }
    Ok(())
}

/// Seconds on the clock, and of processors.
fn build(session: &Session) -> Result<[f64; 2]> {
    let application = Crate::application(session)?;
    let target = paths::scratch().join("builds");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    let mut build = application.cargo("build --release --quiet");
    build.env("CARGO_TARGET_DIR", target);
    let measured = process::measure(build)?;
    Ok([measured.took, measured.cpu].map(|time| time.as_secs_f64()))
}
