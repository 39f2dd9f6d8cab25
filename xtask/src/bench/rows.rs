//! How long a dump takes, by the number of requests in flight and by where they are read from.

use anyhow::{Result, ensure};

use super::spread::{RUNS, Spread};
use super::tracer::{Ended, Kind, Tools, run_to_end};

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
    println!("by kernel map, from the interrupt to the exit, with everything printed:");
    for rows in ROWS.into_iter().filter(|&rows| rows <= MAP_ROWS) {
        by_map(&tools, rows)?;
    }
    Ok(())
}

fn by_registry(tools: &Tools, rows: u64) -> Result<()> {
    let mut load = tools.load(rows.next_power_of_two())?;
    load.start(rows)?;
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut command = tools.trace();
        command.args(["-p", &load.pid().to_string(), "--max-rows", MAX_ROWS]);
        let (time, peak) = run_to_end(command)?;
        times.push(time);
        peaks.push(peak);
    }
    println!(
        "{rows} rows: {:.1} ms, {:.1} MB",
        Spread::of(times),
        Spread::of(peaks)
    );
    Ok(())
}

fn by_map(tools: &Tools, rows: u64) -> Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for kind in [Kind::Ours, Kind::Bpftrace] {
            let mut load = tools.load(MAP_ROWS)?;
            let tracer = tools.attach(kind, &mut load, MAP_ROWS)?;
            load.start(rows)?;
            let Ended { within, lines } = tracer.end()?;
            ensure!(lines as u64 >= rows, "{kind:?} printed {lines} lines only");
            times[kind as usize].push(within.as_secs_f64() * 1e3);
        }
    }
    let ratios = times[1]
        .iter()
        .zip(&times[0])
        .map(|(theirs, ours)| theirs / ours);
    let ratios = Spread::of(ratios.collect());
    let [ours, theirs] = times.map(Spread::of);
    println!("{rows} rows: ours {ours:.1} ms, bpftrace {theirs:.1} ms, {ratios:.1} times as fast");
    Ok(())
}
