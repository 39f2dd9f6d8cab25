//! `cargo xtask`: the project's own tasks, one file each. This file only picks one.

mod api;
mod bench;
mod cli;
mod conformance;
mod demo;
mod dependents;
mod interop;
mod machine;
mod method_ids;
mod process;
mod scratch;
mod tally;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Task};

fn main() -> Result<ExitCode> {
    let tally = match Cli::parse().task {
        Task::Demo => return demo::run().map(|()| ExitCode::SUCCESS),
        Task::Bench { subjects } => return bench::run(&subjects).map(|()| ExitCode::SUCCESS),
        Task::Test { rootless } => test::run(rootless)?,
        Task::Conformance(judged) => conformance::run(&judged.session())?,
        Task::Api(judged) => api::run(&judged.session())?,
        Task::Dependents(judged) => dependents::run(&judged.session())?,
        Task::Interop(peers) => interop::run(peers.published)?,
        Task::MethodIds(peers) => method_ids::run(peers.published)?,
    };
    println!("{tally}");
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}
