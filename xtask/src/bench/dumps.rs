//! How long a whole `roam-trace` takes, and how much memory: of one process with many requests in flight, and of
//! many processes.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::spread::{RUNS, Spread};
use crate::demo::{Demo, Programs};
use crate::process;

/// Rows younger than a second get no verdict.
const STUCK: Duration = Duration::from_millis(1_500);

/// One host that has 100,000 calls in flight: alone, and with the processes that it waits for.
pub(super) fn flood() -> Result<()> {
    let programs = Programs::build()?;
    let demo = programs.demo(2, &["--rate", "0", "--flood", "100000"]);
    let demos = [Demo::start_by(demo)?];
    sleep(STUCK);
    println!("roam-trace -p --no-follow with 100,000 requests in flight:");
    measure(&programs, &demos, &["--no-follow"])?;
    println!(
        "roam-trace -p with 100,000 requests in flight, and the two processes that they wait for:"
    );
    measure(&programs, &demos, &[])?;
    demos.into_iter().try_for_each(Demo::stop)
}

/// Pairs of a host and a cell, with calls between the two, so that each of them has as many in flight.
pub(super) fn processes() -> Result<()> {
    println!("roam-trace on 100 processes with 1,000 requests in flight each:");
    let programs = Programs::build()?;
    let demos = (0..50)
        .map(|_| Demo::start_by(programs.demo(1, &["--rate", "0", "--flood", "1000"])))
        .collect::<Result<Vec<_>>>()?;
    sleep(STUCK);
    measure(&programs, &demos, &["--children"])?;
    demos.into_iter().try_for_each(Demo::stop)
}

fn measure(programs: &Programs, demos: &[Demo], arguments: &[&str]) -> Result<()> {
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut command = programs.trace();
        for demo in demos {
            command.args(["-p", &demo.host.to_string()]);
        }
        command.args(arguments);
        let finished = process::measure(command)?;
        times.push(finished.milliseconds());
        peaks.push(finished.peak_megabytes());
    }
    println!("whole process: {:.1} ms", Spread::of(times));
    println!("memory: {:.1} MB", Spread::of(peaks));
    Ok(())
}
