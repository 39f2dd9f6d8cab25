//! `cargo xtask`: the project's own tasks, one file each. This file only picks one.

mod aarch64;
mod api;
mod bench;
mod build_ebpf;
mod cli;
mod conformance;
mod cycles;
mod demo;
mod dependents;
mod dist;
mod fuzz;
mod incidents;
mod install;
mod interop;
mod machine;
mod method_ids;
mod neighbours;
mod parts;
mod paths;
mod pool;
mod process;
mod reliability;
mod scratch;
mod screen;
mod soak;
mod tally;
mod task;
#[path = "../../testing/terminal.rs"]
#[expect(dead_code, reason = "the tests of roam-trace use what these do not")]
mod terminal;
mod test;
mod test_program;
#[path = "../../testing/verdicts.rs"]
mod verdicts;
mod vm;
mod weight;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().task.run() {
        Ok(tally) => {
            if let Some(tally) = tally {
                println!("{tally}");
            }
            ExitCode::from(u8::from(tally.is_some_and(|tally| tally.failed > 0)))
        }
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
