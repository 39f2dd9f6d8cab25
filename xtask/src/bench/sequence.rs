//! What keeping track of one call costs, with one thread and with two.

use anyhow::Result;

use super::spread::{RUNS, Spread};
use crate::interop::Build;

pub(super) fn run() -> Result<()> {
    println!("one call's bookkeeping, registry against published DiagnosticState:");
    let program = Build::of("published", "sequence", "--release --features registry")?;
    for threads in ["1", "2"] {
        let (mut registry, mut state, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let numbers = program.numbers(|command| {
                command.arg(threads);
            })?;
            registry.push(numbers[0]);
            state.push(numbers[1]);
            ratio.push(numbers[1] / numbers[0]);
        }
        println!(
            "{threads} thread(s): registry {:.0} ns, DiagnosticState {:.0} ns, {:.2} times as fast",
            Spread::of(registry),
            Spread::of(state),
            Spread::of(ratio)
        );
    }
    Ok(())
}
