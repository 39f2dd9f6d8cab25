//! How long a dump takes, by the number of requests in flight and by where they are read from.

use std::process::Command;

use anyhow::{Result, ensure};

use super::spread::{RUNS, Spread};
use super::tracer::{Kind, Load, Tools};
use crate::process;

const ROWS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// All of them, and what else there is.
const MAX_ROWS: &str = "1100000";
/// More than this no tracer's map is made for.
const MAP_ROWS: u64 = 131_072;

pub(super) fn run() -> Result<()> {
    let tools = Tools::build()?;
    println!("by registry, `roam-trace -p PID` from start to exit:");
    for rows in ROWS {
        by_registry(&tools, rows)?;
    }
    println!(
        "against kernel maps, from the interrupt to the exit: ours, and bpftrace's; everything is printed:"
    );
    for rows in ROWS.into_iter().filter(|&rows| rows <= MAP_ROWS) {
        against_maps(&tools, rows)?;
    }
    Ok(())
}

fn by_registry(tools: &Tools, rows: u64) -> Result<()> {
    let mut load = tools.load(rows.next_power_of_two())?;
    load.start(rows)?;
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let finished = process::measure(dump(tools, &load))?;
        times.push(finished.milliseconds());
        peaks.push(finished.peak_megabytes());
    }
    println!(
        "{rows} rows: {:.1} ms, {:.1} MB",
        Spread::of(times),
        Spread::of(peaks)
    );
    Ok(())
}

fn against_maps(tools: &Tools, rows: u64) -> Result<()> {
    let [mut by_registry, mut by_map, mut by_bpftrace] = [const { Vec::new() }; 3];
    for _ in 0..RUNS {
        for (kind, times) in [
            (Kind::Ours, &mut by_map),
            (Kind::Bpftrace, &mut by_bpftrace),
        ] {
            let mut load = tools.load(MAP_ROWS)?;
            let tracer = tools.attach(kind, &mut load, MAP_ROWS)?;
            load.start(rows)?;
            let ended = tracer.end()?;
            let lines = ended.lines;
            ensure!(lines as u64 >= rows, "{kind:?} printed {lines} lines only");
            times.push(ended.milliseconds);
            if kind == Kind::Ours {
                by_registry.push(process::measure(dump(tools, &load))?.milliseconds());
            }
        }
    }
    let times_as_fast = |ours: &[f64]| {
        let pairs = by_bpftrace.iter().zip(ours);
        Spread::of(pairs.map(|(theirs, ours)| theirs / ours).collect())
    };
    println!(
        "{rows} rows: by registry {:.1} times as fast as bpftrace, by our map {:.1} times",
        times_as_fast(&by_registry),
        times_as_fast(&by_map)
    );
    println!(
        "  {:.1}, {:.1} and {:.1} ms",
        Spread::of(by_registry),
        Spread::of(by_map),
        Spread::of(by_bpftrace)
    );
    Ok(())
}

fn dump(tools: &Tools, load: &Load) -> Command {
    let mut command = tools.trace();
    command.args(["-p", &load.pid().to_string()]);
    command.args(["--full", "--max-rows", MAX_ROWS]);
    command
}
