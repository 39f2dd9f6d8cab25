//! The `roam-trace` command: parses, runs, and ends with the exit status.

use std::process::ExitCode;

use roam_trace::cli::Cli;

fn main() -> ExitCode {
    roam_trace::run(&Cli::parse_or_exit()).into()
}
