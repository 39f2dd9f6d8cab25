//! `cargo xtask reliability`: everything that the README says roam-trace survives, tried anew. Prints the
//! README's table.

use anyhow::Result;

use crate::tally::Tally;
use crate::{fuzz, soak, test};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long a demo under load is dumped over and over
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// How long to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<Tally> {
    let faults = test::faults()?;
    let hostile = test::hostile()?;
    let fuzzed = fuzz::fuzz_all(&fuzz::Args::all(args.seconds))?;
    let log = soak::soak(args.minutes)?;
    let mut sum = log.report(args.minutes);

    println!("\n| tried | how often | went wrong |\n| --- | --- | --- |");
    let mut line = |what: &str, tally: Tally| {
        println!(
            "| {what} | {} | {} |",
            tally.passed + tally.failed,
            tally.failed
        );
        sum += tally;
    };
    line("faults while a target is traced under load", faults);
    line("targets that publish what is made to hurt", hostile);
    for fuzzed in fuzzed {
        let failed = u64::from(!fuzzed.found_nothing);
        let passed = fuzzed.inputs - failed.min(fuzzed.inputs);
        let what = format!("inputs that nobody thought of: {}", fuzzed.target);
        line(&what, Tally { passed, failed });
    }
    let failed = log.wrong.len() as u64;
    let passed = log.rounds.saturating_sub(failed);
    let what = format!("dumps of host and cells in {} min of load", args.minutes);
    line(&what, Tally { passed, failed });
    println!();
    Ok(sum)
}
