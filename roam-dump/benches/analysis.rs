//! How long verdicts, the wait graph and the text take, by the number of rows. Asserts
//! nothing; `cargo xtask bench graph` runs it.

use std::fmt;
use std::time::Instant;

use jiff::Timestamp;
use roam_dump::model::{Dump, SCHEMA_VERSION};
use roam_dump::render::text;

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
        let explaining = Times::of(|| {
            let explanation = world.explain();
            assert!(!explanation.graph.roots.is_empty());
        });
        println!("{rows} rows in {processes} processes: {explaining}");
        let explanation = world.explain();
        let dump = Dump {
            schema_version: SCHEMA_VERSION,
            taken_at: Timestamp::UNIX_EPOCH,
            verdicts: explanation.verdicts,
            processes: world.snapshots,
            hubs: Vec::new(),
            graph: Some(explanation.graph),
        };
        for is_full in [false, true] {
            let options = text::Options {
                is_full,
                ..text::Options::plain()
            };
            let mut lines = 0;
            let printing = Times::of(|| {
                let mut out = Vec::new();
                text::render(&mut out, &dump, &options).unwrap();
                lines = out.iter().filter(|&&byte| byte == b'\n').count();
            });
            let what = if is_full { "--full" } else { "folded" };
            println!("  text, {what}, {lines} lines: {printing}");
        }
    }
}

/// Milliseconds that a number of runs took, in order.
struct Times([f64; RUNS]);

impl Times {
    fn of(mut run: impl FnMut()) -> Self {
        let mut millis = [0.0; RUNS];
        for millis in &mut millis {
            let started = Instant::now();
            run();
            *millis = started.elapsed().as_secs_f64() * 1e3;
        }
        millis.sort_by(f64::total_cmp);
        Self(millis)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(millis) = self;
        let [median, first, last] = [RUNS / 2, 0, RUNS - 1].map(|index| millis[index]);
        write!(f, "{median:.2} ms (from {first:.2} to {last:.2})")
    }
}
