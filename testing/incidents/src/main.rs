//! A realistic application to judge a tracer by: eleven processes over unix sockets and TCP, with pools, calls to
//! themselves, a proxy, clients that reconnect, long polls and streams; and incidents to plant in it, with their
//! truth as data. `cargo xtask incidents` runs it.

#![deny(unsafe_code)]

mod app;
mod churn;
mod control;
mod handlers;
mod incident;
mod link;
mod load;
mod node;
mod order;
mod reconnect;
mod role;
mod service;
mod socket;
mod supervisor;
mod witness;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// An application of many processes, and incidents to plant in it.
#[derive(Parser)]
#[command(name = "roam-incidents")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the application; each line `plant NAME` of standard input plants an incident
    Run(supervisor::Options),
    /// Print the incidents and what is true of each, as JSON
    List,
    /// Run one process (started by `run`)
    #[command(hide = true)]
    Process(role::Options),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(options) => supervisor::run(&options),
        Command::List => {
            println!("{}", serde_json::to_string(&incident::incidents())?);
            Ok(())
        }
        Command::Process(options) => role::run(&options),
    }
}
