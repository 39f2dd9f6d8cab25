//! `cargo xtask vm`: the real-kernel tests on kernels that distributions ship, each booted in a virtual
//! machine, and on the running one.
//!
//! Owns the order and the report. What is run is the same on every kernel ([`checks`]): the test programs
//! that cargo built here, packed with what they need ([`initramfs`]).

mod checks;
mod guest;
mod initramfs;
mod packages;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use self::checks::{Check, Checks, Results};
use self::guest::Guest;
use crate::tally::Tally;
use crate::{install, pool};

/// The word for the kernel that this is running on.
const RUNNING: &str = "running";

/// What Debian 12 offers: before and after the kernel learned to attach many probes at once (6.6).
pub(crate) const PACKAGED: [&str; 2] = ["6.1", "6.12"];

/// Runs the checks on each kernel: those of Debian by series, such as `6.1`, and `running`.
pub(crate) fn run(kernels: &[String]) -> Result<Tally> {
    let all = [PACKAGED[0], PACKAGED[1], RUNNING].map(str::to_owned);
    let kernels = if kernels.is_empty() { &all } else { kernels };
    let checks = Checks::build()?;
    let (here, packaged): (Vec<_>, Vec<_>) = kernels.iter().partition(|kernel| *kernel == RUNNING);
    let guests = guests(&packaged, &checks)?;

    let mut results = Vec::new();
    if !here.is_empty() {
        results.push(timed(|| checks::run_here(&checks)));
    }
    // Most of the time the tests wait for a kernel to finish something, so machines share processors well.
    let run = |guest: &Guest| timed(|| guest.run(&checks));
    results.extend(pool::map(&guests, guests.len(), run));

    let mut sum = Tally::default();
    println!();
    for result in results {
        let (results, seconds) = result?;
        println!("{}", line(&results, seconds));
        sum += results.tally;
    }
    println!();
    Ok(sum)
}

/// Runs one command in a machine with the newest kernel of a series, which has `programs` too, and shows what it prints.
pub(crate) fn run_one(
    series: &str,
    arguments: &[&str],
    program: PathBuf,
    mut programs: Vec<PathBuf>,
) -> Result<Tally> {
    programs.push(program.clone());
    let command = Check {
        name: arguments.concat(),
        program,
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
    };
    let checks = Checks::one(command, programs);
    let mut sum = Tally::default();
    for guest in guests(&[&series.to_owned()], &checks)? {
        let results = guest.run(&checks)?;
        if results.tally.failed == 0 {
            println!("{}", results.text);
        }
        sum += results.tally;
    }
    Ok(sum)
}

/// A machine for each kernel.
fn guests(series: &[&String], checks: &Checks) -> Result<Vec<Guest>> {
    if series.is_empty() {
        return Ok(Vec::new());
    }
    install::packages(&install::MACHINES)?;
    let kernels = series.iter().map(|series| packages::kernel(series));
    let kernels: Vec<_> = kernels.collect::<Result<_>>()?;
    let initramfs = initramfs::write(checks, &kernels)?;
    (series.iter().zip(&kernels))
        .map(|(series, kernel)| Guest::new(series, kernel, &initramfs))
        .collect()
}

fn timed(run: impl FnOnce() -> Result<Results>) -> Result<(Results, f64)> {
    let started = Instant::now();
    let results = run()?;
    Ok((results, started.elapsed().as_secs_f64()))
}

fn line(results: &Results, seconds: f64) -> String {
    let word = match results.tally.failed {
        0 => "ok    ",
        _ => "FAILED",
    };
    format!(
        "{word} {} ({}): attaches {}; {}, {seconds:.0} s",
        results.release,
        results.place,
        results.attaching.as_deref().unwrap_or("not at all"),
        results.tally
    )
}
