//! How verdicts, wait graph and text grow with the number of rows.

use anyhow::Result;

use crate::process;

pub(super) fn run() -> Result<()> {
    println!("verdicts, wait graph and text, by the number of rows:");
    process::require(process::cargo("bench --package roam-dump --bench analysis"))
}
