//! The options of `cargo xtask incidents`.

use std::time::Duration;

use anyhow::Result;

use super::application::{Application, Condition, Programs};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs of each incident under each condition
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) runs: u32,
    /// Incidents to run [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) only: Vec<String>,
    /// Conditions to run them under [default: each incident's worst]
    #[arg(long, value_enum)]
    pub(super) condition: Vec<Condition>,
    /// Runs at the same time
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(super) jobs: usize,
    /// Background calls per second where there is load
    #[arg(long, value_name = "N", default_value_t = 200)]
    rate: u32,
    /// Length of long polls in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 6)]
    poll: u64,
    /// Look at healthy applications that often instead
    #[arg(long, value_name = "LOOKS", conflicts_with_all = ["only", "condition"])]
    pub(super) healthy: Option<u32>,
}

impl Args {
    /// Each incident once, under its worst condition.
    pub(crate) fn once() -> Self {
        Self {
            runs: 1,
            only: Vec::new(),
            condition: Vec::new(),
            jobs: 4,
            rate: 200,
            poll: 6,
            healthy: None,
        }
    }

    /// Starts the application under a condition.
    pub(super) fn start(&self, programs: &Programs, condition: Condition) -> Result<Application> {
        let poll = Duration::from_secs(self.poll);
        Application::start(programs, condition, self.rate, poll)
    }
}
