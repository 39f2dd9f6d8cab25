//! How long a whole `roam-trace -p` takes when 100,000 requests are in flight.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::spread::{RUNS, Spread};
use crate::demo::{Demo, Programs};

const REQUESTS: &str = "100000";

pub(super) fn run() -> Result<()> {
    println!("roam-trace -p with {REQUESTS} requests in flight:");
    let programs = Programs::build()?;
    let demo = Demo::start(&programs, &["--rate", "0", "--flood", REQUESTS])?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let mut command = programs.trace();
        command
            .args(["-p", &demo.host.to_string()])
            .stdout(std::process::Stdio::null());
        let started = Instant::now();
        ensure!(command.status()?.success(), "roam-trace failed");
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    println!("whole process: {:.1} ms", Spread::of(times));
    demo.stop()
}
