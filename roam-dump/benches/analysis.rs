//! How long verdicts and the wait graph take, by the number of rows. Asserts
//! nothing; `cargo xtask bench graph` runs it.

use std::time::Instant;

#[path = "../tests/analysis/world.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod world;

use world::{End, SECOND, World};

/// Rows, and the processes that have them.
const CASES: [(usize, usize); 4] = [(1_000, 2), (10_000, 10), (10_000, 20), (100_000, 100)];
const RUNS: usize = 7;

/// Processes in a row, each with calls to the next: some made by handlers, most by unknown ones.
fn world(rows: usize, processes: usize) -> World {
    let mut world = World::new();
    let processes: Vec<usize> = (0..processes)
        .map(|index| world.process(&format!("process-{index}")))
        .collect();
    let links: Vec<_> = processes
        .windows(2)
        .enumerate()
        .map(|(index, pair)| world.connect(pair[0], pair[1], (600 + index as u64) * SECOND))
        .collect();
    let mut handler: Option<End> = None;
    for index in 0..rows / 2 {
        let link = links[index % links.len()];
        let from = link.ends[0].process;
        let call = world.call(from, link, "Content.watch", 10 * SECOND + index as u64);
        if let Some(handler) = handler.filter(|handler| handler.process == from) {
            let made = world.snapshots[from].requests.last_mut();
            if let Some(made) = made.filter(|made| made.serial == call.caller.serial) {
                made.parent = Some(handler.serial);
            }
        }
        handler = (index % 10 != 9).then_some(call.callee);
    }
    world
}

fn main() {
    for (rows, processes) in CASES {
        let mut world = world(rows, processes);
        let mut millis: Vec<f64> = (0..RUNS)
            .map(|_| {
                let started = Instant::now();
                let explanation = world.explain();
                let millis = started.elapsed().as_secs_f64() * 1e3;
                assert!(!explanation.graph.roots.is_empty());
                millis
            })
            .collect();
        millis.sort_by(f64::total_cmp);
        println!(
            "{rows} rows in {processes} processes: {:.2} ms (from {:.2} to {:.2}), {:.0} ns a row",
            millis[RUNS / 2],
            millis[0],
            millis[RUNS - 1],
            millis[RUNS / 2] * 1e6 / rows as f64
        );
    }
}
