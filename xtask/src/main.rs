//! `cargo xtask`: the project's own tasks, one file each. This file only picks one.

mod api;
mod build_ebpf;
mod cli;
mod conformance;
mod dependents;
mod interop;
mod method_ids;
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
        Task::Api(judged) => api::run(&judged.session())?,
        Task::Dependents(judged) => dependents::run(&judged.session())?,
        Task::Interop(peers) => interop::run(peers.published)?,
        Task::BuildEbpf(args) => {
            build_ebpf::run(&args)?;
            return Ok(ExitCode::SUCCESS);
        }
        Task::MethodIds(peers) => method_ids::run(peers.published)?,
    };
    println!("{tally}");
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}
