//! `cargo xtask reliability`: everything that docs/reliability.md says roam-trace survives, tried anew. Prints the
//! table there.

use anyhow::Result;

use crate::tally::Tally;
use crate::{fuzz, neighbours, parts, soak};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Minutes to dump a demo under load
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Seconds to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Only try what processes of another, unprivileged user can do to the tracer, as root beside a demo that hangs
    #[arg(long)]
    hostile_neighbours: bool,
    /// Only this attack of `testing/attackers`; repeatable
    #[arg(long, value_name = "NAME", requires = "hostile_neighbours")]
    attack: Vec<String>,
    /// Attacks of a small size, to try the attackers
    #[arg(long, requires = "hostile_neighbours")]
    small: bool,
    /// Those attacks that hold other processes in the kernel, on this machine: a virtual one
    #[arg(long, requires = "hostile_neighbours", hide = true)]
    held: bool,
}

pub(crate) fn run(args: &Args) -> Result<Tally> {
    if args.hostile_neighbours {
        return match args.held {
            true => neighbours::run_held(),
            false => neighbours::run(&args.attack, args.small),
        };
    }
    let faults = parts::faults()?;
    let hostile = parts::hostile()?;
    let fuzzed = fuzz::fuzz_all(&fuzz::Args::all(args.seconds))?;
    let log = soak::soak(args.minutes, false)?;
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
