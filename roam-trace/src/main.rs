//! The `roam-trace` command: completes or parses its command line, runs, and ends with the exit status.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use roam_trace::cli::Cli;
use roam_trace::huge_pages::HugePages;

#[global_allocator]
static ALLOCATOR: HugePages = HugePages;

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).complete();
    roam_trace::run(&Cli::parse_or_exit()).into()
}
