//! What a request costs while its probes are traced, and how long a tracer takes to attach and to go.

use anyhow::Result;

use super::spread::{RUNS, Spread};
use super::tracer::{Kind, Tools};

const CALLS: u64 = 200_000;
/// Room for rows, in both tracers.
const REQUESTS: u64 = 131_072;

pub(super) fn run() -> Result<()> {
    println!("a request, start and end, whose probes are traced; {CALLS} of them in one thread:");
    let tools = Tools::build()?;
    let mut load = tools.load(REQUESTS)?;
    let mut untraced = Vec::new();
    let mut traced = [Vec::new(), Vec::new()];
    let mut attached = [Vec::new(), Vec::new()];
    let mut detached = [Vec::new(), Vec::new()];
    for run in 0..RUNS {
        untraced.push(load.calls(CALLS)?);
        let mut order = [Kind::Ours, Kind::Bpftrace];
        if run % 2 == 1 {
            order.reverse();
        }
        for kind in order {
            let tracer = tools.attach(kind, &mut load, REQUESTS)?;
            traced[kind as usize].push(load.calls(CALLS)?);
            attached[kind as usize].push(tracer.attached_in.as_secs_f64() * 1e3);
            detached[kind as usize].push(tracer.end()?.milliseconds);
        }
    }
    let ratio = |values: &[Vec<f64>; 2]| {
        let pairs = values[0].iter().zip(&values[1]);
        Spread::of(pairs.map(|(ours, theirs)| ours / theirs).collect())
    };
    println!("untraced: {:.0} ns", Spread::of(untraced));
    let ratios = [ratio(&traced), ratio(&attached), ratio(&detached)];
    for (what, unit, [ours, theirs], ratio) in [
        ("traced", "ns", traced, &ratios[0]),
        ("start to attached", "ms", attached, &ratios[1]),
        ("interrupt to exit", "ms", detached, &ratios[2]),
    ] {
        println!(
            "{what}: ours {:.0} {unit}, bpftrace {:.0} {unit}, ratio {ratio:.2}",
            Spread::of(ours),
            Spread::of(theirs)
        );
    }
    Ok(())
}
