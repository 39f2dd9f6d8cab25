//! The arguments of `cargo xtask`, and nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::scratch::Session;

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Run the published test suites of roam-stream and roam-shm on the drop-in roam-session
    Conformance(Judged),
}

/// Which roam-session is judged: the one in this repository unless said otherwise.
#[derive(Args)]
pub(crate) struct Judged {
    /// Judge the crate at this path
    #[arg(long, value_name = "PATH", conflicts_with = "published")]
    session: Option<PathBuf>,
    /// Judge the published roam-session itself: a judge that fails on it is wrong
    #[arg(long)]
    published: bool,
}

impl Judged {
    pub(crate) fn session(self) -> Session {
        match self.session {
            Some(path) => Session::DropIn(path),
            None if self.published => Session::Published,
            None => Session::ours(),
        }
    }
}
