//! How long a whole `roam-trace` takes for many processes, and how much memory.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::spread::{RUNS, Spread};
use super::tracer::run_to_end;
use crate::demo::{Demo, Programs};

/// Pairs of a host and a cell.
const PAIRS: usize = 50;
/// Calls between the two, so that each of them has that many requests in flight.
const CALLS: &str = "1000";
/// Rows younger than a second get no verdict.
const STUCK: Duration = Duration::from_millis(1_500);

pub(super) fn run() -> Result<()> {
    println!(
        "roam-trace on {} processes with {CALLS} requests in flight each:",
        2 * PAIRS
    );
    let programs = Programs::build()?;
    let demos = (0..PAIRS)
        .map(|_| Demo::start_by(programs.demo(1, &["--rate", "0", "--flood", CALLS])))
        .collect::<Result<Vec<_>>>()?;
    sleep(STUCK);
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut command = programs.trace();
        for demo in &demos {
            command.args(["-p", &demo.host.to_string()]);
        }
        command.arg("--children");
        let (time, peak) = run_to_end(command)?;
        times.push(time);
        peaks.push(peak);
    }
    println!("whole process: {:.1} ms", Spread::of(times));
    println!("memory: {:.1} MB", Spread::of(peaks));
    demos.into_iter().try_for_each(Demo::stop)
}
