//! How verdicts and wait graph grow with the number of rows.

use anyhow::Result;

use crate::{process, scratch};

pub(super) fn run() -> Result<()> {
    println!("verdicts and wait graph, by the number of rows:");
    let mut bench = process::cargo(["bench", "--package", "roam-dump", "--bench", "analysis"]);
    bench.current_dir(scratch::root());
    process::require(bench)
}
