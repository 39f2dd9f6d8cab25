//! `cargo xtask incidents`: plants incidents in a realistic application and judges what roam-trace says of them.

mod application;
mod args;
mod healthy;
mod judge;
mod look;
mod planted;
mod scene;
mod summary;

use anyhow::Result;
use serde_json::Value;

use crate::process;
use crate::tally::Tally;
use application::Programs;
pub(crate) use args::Args;

/// Runs incidents, or looks at healthy applications.
pub(crate) fn run(args: &Args) -> Result<Tally> {
    let programs = Programs::build()?;
    let mut list = programs.application();
    list.arg("list");
    let list: Value = serde_json::from_str(&process::read(list)?)?;
    match args.healthy {
        Some(looks) => healthy::run(args, &programs, looks),
        None => planted::run(args, &programs, &list),
    }
}
