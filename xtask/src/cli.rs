//! The arguments of `cargo xtask`, and nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::Subject;
use crate::parts::Part;
use crate::scratch::Session;
use crate::{fuzz, incidents, reliability};

/// The tasks of this project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Build everything, start a demo that hangs, and show what roam-trace prints
    Demo,
    /// Install what the tests need, then run all of them
    Test {
        /// Leave out the tests that need root
        #[arg(long)]
        rootless: bool,
    },
    /// Run one part of the tests that has no task of its own
    Part {
        /// The part
        #[arg(value_enum)]
        part: Part,
    },
    /// Build what a release consists of, in target/dist: binary, man page, completions, and a Debian package of them
    Dist,
    /// Measure the overhead against the published roam-session; no result fails
    Bench {
        /// What to measure [default: everything]
        #[arg(value_enum)]
        subjects: Vec<Subject>,
    },
    /// Dump a demo whose cells are killed over and over, and check every dump and the memory of every process
    Soak {
        /// Minutes to run
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Arm the demo, replace its executable, have other processes execute themselves, and check the kernel maps
        #[arg(long)]
        armed: bool,
    },
    /// Try everything that docs/reliability.md says roam-trace survives, and print its table
    Reliability(reliability::Args),
    /// Plant incidents in a realistic application, judge what roam-trace says of them, and print the table of
    /// docs/verdicts.md
    Incidents(incidents::Args),
    /// Feed fuzzed inputs to the code that reads the bytes of a target
    Fuzz(fuzz::Args),
    /// Run the published test suites of roam-stream and roam-shm on the drop-in roam-session
    Conformance(Tested),
    /// Compare the drop-in's public API with the published one: additions only
    Api(Tested),
    /// Compile every published crate that depends on roam-session against the drop-in
    Dependents(Tested),
    /// Count the crates that the drop-in adds to a program
    Weight,
    /// Make calls between a process on the published and one on the drop-in roam-session, in every pairing
    Interop(Peers),
    /// Compare the method ids of both builds of the interop peer
    MethodIds(Peers),
    /// Run the real-kernel tests on Debian kernels in virtual machines, and on the running kernel
    Vm {
        /// Kernels: a series such as 6.1, or `running` [default: 6.1 6.12 running]
        kernels: Vec<String>,
    },
    /// Build for AArch64, and run the tests that need no AArch64 kernel on an emulated processor
    Aarch64,
    /// Build the eBPF objects, or compare a build with the committed ones
    BuildEbpf {
        /// Compare with the committed objects instead of replacing them
        #[arg(long)]
        check: bool,
    },
    /// Draw docs/top.svg: what `roam-trace top` shows of a demo that hangs
    Screen,
    /// Find files or folders of a crate that depend on one another in a cycle
    Cycles,
}

/// Which builds of `interop` are compared.
#[derive(Args)]
pub(crate) struct Peers {
    /// Compare the published build with itself: if that fails, the check is wrong
    #[arg(long)]
    pub(crate) published: bool,
}

/// Which roam-session is tested: the one in this repository unless said otherwise.
#[derive(Args)]
pub(crate) struct Tested {
    /// Test the crate at this path
    #[arg(long, value_name = "PATH", conflicts_with = "published")]
    session: Option<PathBuf>,
    /// Test the published roam-session itself: if that fails, the check is wrong
    #[arg(long)]
    published: bool,
}

impl Tested {
    pub(crate) fn session(self) -> Session {
        match self.session {
            Some(path) => Session::DropIn(path),
            None if self.published => Session::Published,
            None => Session::ours(),
        }
    }
}
