//! `cargo xtask vm`: the real-kernel tests on kernels that distributions ship, each booted in a virtual
//! machine, and on the running one.
//!
//! Owns the order and the report. What is run is the same on every kernel ([`checks`]): the test programs
//! that cargo built here ([`programs`]), packed with what they need ([`initramfs`]).

mod checks;
mod guest;
mod initramfs;
mod packages;
mod programs;

use std::panic::resume_unwind;
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};

use self::checks::{Checks, Verdict};
use self::guest::Guest;
pub(crate) use self::programs::release_tests;
use crate::tally::Tally;

/// The word for the kernel that this is running on.
const RUNNING: &str = "running";

/// What Debian 12 offers: before and after the kernel learned to attach many probes at once (6.6).
pub(crate) const PACKAGED: [&str; 2] = ["6.1", "6.12"];

/// Runs the checks on each kernel: those of Debian by series, such as `6.1`, and `running`.
pub(crate) fn run(kernels: &[String]) -> Result<Tally> {
    let all = PACKAGED.iter().chain([&RUNNING]).map(ToString::to_string);
    let kernels = match kernels {
        [] => all.collect(),
        some => some.to_vec(),
    };
    let started = Instant::now();
    let checks = programs::build()?;
    let (here, packaged): (Vec<_>, Vec<_>) = kernels.iter().partition(|kernel| *kernel == RUNNING);
    let guests = guests(&packaged, &checks)?;
    println!("ready in {:.0} s", started.elapsed().as_secs_f64());

    let mut verdicts = Vec::new();
    if !here.is_empty() {
        verdicts.push(timed(|| checks::run_here(&checks)));
    }
    // Most of the time the tests wait for a kernel to finish something, so machines share processors well.
    verdicts.extend(thread::scope(|scope| {
        let running: Vec<_> = guests
            .iter()
            .map(|guest| scope.spawn(|| timed(|| guest.run(&checks))))
            .collect();
        running
            .into_iter()
            .map(|guest| guest.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Vec<_>>()
    }));

    let mut sum = Tally::default();
    println!();
    for verdict in verdicts {
        let (verdict, seconds) = verdict?;
        println!("{}", line(&verdict, seconds));
        sum += verdict.tally;
    }
    println!();
    ensure!(sum != Tally::default(), "no test ran");
    Ok(sum)
}

/// A machine for each kernel.
fn guests(series: &[&String], checks: &Checks) -> Result<Vec<Guest>> {
    if series.is_empty() {
        return Ok(Vec::new());
    }
    guest::install()?;
    let initramfs = initramfs::write(checks)?;
    series
        .iter()
        .map(|series| Guest::new(series, &initramfs))
        .collect()
}

fn timed(run: impl FnOnce() -> Result<Verdict>) -> Result<(Verdict, f64)> {
    let started = Instant::now();
    let verdict = run()?;
    Ok((verdict, started.elapsed().as_secs_f64()))
}

fn line(verdict: &Verdict, seconds: f64) -> String {
    let word = match verdict.tally.failed {
        0 => "ok    ",
        _ => "FAILED",
    };
    format!(
        "{word} {} ({}): attaches {}; {}, {seconds:.0} s",
        verdict.release,
        verdict.place,
        verdict.attaching.as_deref().unwrap_or("not at all"),
        verdict.tally
    )
}
