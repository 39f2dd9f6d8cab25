//! The tasks of this repository: `cargo xtask --help`.

mod build_ebpf;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of this repository")]
enum Task {
    /// Build the kernel programs.
    BuildEbpf(build_ebpf::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::BuildEbpf(args) => build_ebpf::run(&args),
    }
}
