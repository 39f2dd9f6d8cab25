//! Calls per second of two builds of one program, in pairs, so that what else the machine does meets both.

use anyhow::Result;

use super::spread::{RUNS, Spread};
use crate::interop::Build;

const WAYS: [&str; 2] = ["sequential", "64 at once"];

/// What the drop-in is held against.
const AGAINST: [&str; 3] = [
    "the published roam-session",
    "the drop-in with ROAM_DIAGNOSTIC=off",
    "the drop-in with ROAM_DIAGNOSTIC=probes",
];

pub(super) fn run() -> Result<()> {
    println!("calls per second over a unix socket, drop-in (registry on, probes dormant):");
    let published = Build::of("published", "calls", "--release")?;
    let ours = Build::of("drop-in", "calls", "--release")?;
    let contestants = [
        (&ours, "on"),
        (&published, "on"),
        (&ours, "off"),
        (&ours, "probes"),
    ];
    let mut ratios = AGAINST.map(|_| WAYS.map(|_| Vec::new()));
    for run in 0..RUNS {
        let mut rates = contestants.map(|_| Vec::new());
        // Each goes first in turn: a machine that warms up or throttles favours none.
        for offset in 0..contestants.len() {
            let index = (run + offset) % contestants.len();
            let (build, registry) = contestants[index];
            rates[index] = build.numbers(|command| {
                command.env("ROAM_DIAGNOSTIC", registry);
            })?;
        }
        for (against, ratios) in rates[1..].iter().zip(&mut ratios) {
            for (way, ratios) in ratios.iter_mut().enumerate() {
                ratios.push(rates[0][way] / against[way]);
            }
        }
    }
    for (against, ratios) in AGAINST.iter().zip(ratios) {
        for (way, ratios) in WAYS.iter().zip(ratios) {
            println!("{way}, against {against}: {:.3}", Spread::of(ratios));
        }
    }
    Ok(())
}
