//! `cargo xtask`: the project's own tasks, one file each. This file only picks one.

mod cli;
mod conformance;
mod process;
mod scratch;
mod tally;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Task};

fn main() -> Result<ExitCode> {
    let tally = match Cli::parse().task {
        Task::Conformance(judged) => conformance::run(&judged.session())?,
    };
    println!("{tally}");
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}
