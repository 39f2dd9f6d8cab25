//! The `roam-demo` binary: parses the command line and hands over to the library.

use std::process::ExitCode;

use clap::Parser;
use roam_demo::cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Host(options) => roam_demo::scenario::run(&options),
        Command::Cell(options) => roam_demo::cell::run(&options),
        Command::Hold => roam_demo::cell::hold(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
