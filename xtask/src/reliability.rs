//! `cargo xtask reliability`: everything that docs/reliability.md says roam-trace survives, tried anew. Prints the
//! table there.

use anyhow::Result;

use crate::tally::Tally;
use crate::{fuzz, parts, soak};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Minutes to dump a demo under load
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Seconds to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<Tally> {
    let faults = parts::faults()?;
    let hostile = parts::hostile()?;
    let fuzzed = fuzz::fuzz_all(&fuzz::Args::all(args.seconds))?;
    let log = soak::soak(args.minutes)?;
    // Says itself whether a dump was wrong.
    let mut sum = log.report(args.minutes);
    for tally in [faults, hostile] {
        sum += tally;
    }
    for fuzzed in &fuzzed {
        sum += Tally::one(fuzzed.found_nothing);
    }

    println!("\n| tried | count | failures |\n| --- | --- | --- |");
    let row = |what: &str, tried: u64, wrong: u64| println!("| {what} | {tried} | {wrong} |");
    for (what, tally) in [
        ("faults while a target is traced under load", faults),
        ("targets with malicious data", hostile),
    ] {
        row(what, tally.passed + tally.failed, tally.failed);
    }
    for fuzzed in fuzzed {
        let what = format!("fuzzed inputs: {}", fuzzed.target);
        row(&what, fuzzed.inputs, (!fuzzed.found_nothing).into());
    }
    let what = format!("dumps of host and cells in {} min of load", args.minutes);
    row(&what, log.rounds, log.wrong.len() as u64);
    println!();
    Ok(sum)
}
