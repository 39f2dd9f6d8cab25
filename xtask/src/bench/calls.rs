//! Calls per second of two builds of one program, in pairs, so that what else the machine does meets both.

use anyhow::Result;

use super::spread::{RUNS, Spread};
use crate::interop::Build;

const WAYS: [&str; 2] = ["sequential", "64 at once"];

pub(super) fn run() -> Result<()> {
    println!("calls per second over a unix socket, drop-in against published:");
    let published = Build::of("published", "calls", true)?;
    let ours = Build::of("drop-in", "calls", true)?;
    let mut ratios = WAYS.map(|_| Vec::new());
    for pair in 0..RUNS {
        // Each goes first in every other pair: a machine that warms up or throttles favours neither.
        let (published, ours) = if pair % 2 == 0 {
            let published = published.numbers(&[])?;
            (published, ours.numbers(&[])?)
        } else {
            let ours = ours.numbers(&[])?;
            (published.numbers(&[])?, ours)
        };
        for (index, way) in WAYS.iter().enumerate() {
            let ratio = ours[index] / published[index];
            println!(
                "  {way}: {:.0} against {:.0}, {ratio:.3}",
                ours[index], published[index]
            );
            ratios[index].push(ratio);
        }
    }
    for (way, ratios) in WAYS.iter().zip(ratios) {
        println!("{way}: ratio {:.3}", Spread::of(ratios));
    }
    Ok(())
}
