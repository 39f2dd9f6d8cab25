//! What keeping track of one call costs, with one thread and with two.

use anyhow::{Result, bail};

use super::spread::{RUNS, Spread};
use crate::interop::Build;

pub(super) fn run() -> Result<()> {
    println!("one call's bookkeeping, registry against published DiagnosticState:");
    let program = Build::of("published", "sequence", "--release --features registry")?;
    for threads in ["1", "2"] {
        let mut columns = [const { Vec::new() }; 5];
        for _ in 0..RUNS {
            let numbers = program.numbers(|command| {
                command.arg(threads);
            })?;
            let [registry, uncounted, state] = numbers[..] else {
                bail!("the bench printed {numbers:?}");
            };
            let numbers = program.numbers(|command| {
                command.arg(threads).env("ROAM_DIAGNOSTIC", "probes");
            })?;
            let [probes, ..] = numbers[..] else {
                bail!("the bench printed {numbers:?}");
            };
            let statistics = registry - uncounted;
            let run = [registry, statistics, probes, state, state / registry];
            for (column, number) in columns.iter_mut().zip(run) {
                column.push(number);
            }
        }
        let [registry, statistics, probes, state, ratio] = columns.map(Spread::of);
        println!(
            "{threads} thread(s): registry {registry:.0} ns, of these statistics {statistics:.1} ns, \
             ROAM_DIAGNOSTIC=probes {probes:.1} ns, DiagnosticState {state:.0} ns, the registry {ratio:.2} times as \
             fast as that"
        );
    }
    Ok(())
}
