//! Attacks on a tracer that runs as root, by a user without privileges. One subcommand each; its options are sizes.
//!
//! An attacker started by root becomes uid 65534 first. It prints `ready`, and holds on until its standard input ends,
//! the process that started it dies, or its own deadline passes. None of its processes outlives that.

mod binaries;
mod cli;
mod fuse;
mod mappings;
mod names;
mod pages;
mod private;
mod processes;
mod registries;
mod registry;
mod siege;
mod sockets;

use std::io::{Write, stdin, stdout};

use anyhow::Result;
use clap::Parser;

use cli::{Attack, Cli};
use siege::Siege;

fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut siege = Siege::begin(cli.seconds)?;
    start(&cli.attack, &mut siege)?;
    writeln!(stdout(), "ready")?;
    // Nobody writes to it: this waits for its end.
    std::io::copy(&mut stdin(), &mut std::io::sink())?;
    Ok(())
}

fn start(attack: &Attack, siege: &mut Siege) -> Result<()> {
    match *attack {
        Attack::Registries {
            processes,
            each,
            lone,
        } => registries::crowd(siege, processes, each, lone),
        Attack::Zeros { processes } => registries::zeros(siege, processes),
        Attack::Forged { age_seconds } => registries::forged(siege, age_seconds),
        Attack::Full { processes } => registries::full(siege, processes),
        Attack::Alike {
            processes,
            connections,
        } => registries::alike(siege, processes, connections),
        Attack::Leases { processes } => registries::leases(siege, processes),
        Attack::Imitations { files } => registries::imitations(siege, files),
        Attack::MissingPages => pages::missing_pages(siege),
        Attack::Names { processes } => names::malicious_names(siege, processes),
        Attack::Deep { depth, mappings } => mappings::deep(siege, depth, mappings),
        Attack::Shared {
            processes,
            mappings,
        } => mappings::shared(siege, processes, mappings),
        Attack::Binaries {
            processes,
            files,
            sections,
        } => binaries::large(siege, processes, files, sections),
        Attack::Search {
            processes,
            megabytes,
        } => binaries::search(siege, processes, megabytes),
        Attack::Probes { threads } => binaries::firing(siege, threads),
        Attack::Sockets { processes, pairs } => sockets::many(siege, processes, pairs),
        Attack::Inherited { processes, pairs } => sockets::inherited(siege, processes, pairs),
        Attack::Namespaces { processes, pairs } => sockets::namespaces(siege, processes, pairs),
        Attack::Descriptors { processes, each } => processes::descriptors(siege, processes, each),
        Attack::Threads { processes, threads } => processes::threads(siege, processes, threads),
        Attack::Churn { processes } => processes::churn(siege, processes),
        Attack::States => processes::states(siege),
        Attack::Flush => fuse::flush(siege),
        Attack::MemoryLock => fuse::memory_lock(siege),
    }
}
