//! How long the programs of a set run.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use aya::sys::{Stats, enable_stats};

use super::directory::Directory;
use super::error::ArmedError;
use crate::attach::armed_programs;
use crate::bpf::{self, Access, ProgramInfo};

/// The directory of the programs.
pub(super) const PROGRAMS: &str = "programs";

/// What a program did while the kernel measured it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramTime {
    /// Its name.
    pub program: String,
    /// How often it ran.
    pub runs: u64,
    /// How long, altogether.
    pub run_time: Duration,
}

/// Opens the programs.
pub(super) fn open(directory: &Directory) -> Result<Vec<OwnedFd>, ArmedError> {
    armed_programs()
        .map(|name| directory.open(&format!("{PROGRAMS}/{name}"), Access::ReadAndWrite))
        .collect()
}

/// Has the kernel measure programs for a while.
pub(super) fn measure(
    programs: &[OwnedFd],
    duration: Duration,
) -> Result<Vec<ProgramTime>, ArmedError> {
    let failed =
        |error: std::io::Error| ArmedError::io("measure", Path::new("the programs"), error);
    let read = || -> Result<Vec<ProgramInfo>, ArmedError> {
        let infos = programs
            .iter()
            .map(|program| bpf::program_info(program.as_fd()));
        infos.collect::<Result<_, _>>().map_err(failed)
    };
    let _measuring = enable_stats(Stats::RunTime).map_err(|error| failed(error.io_error))?;
    let before = read()?;
    sleep(duration);
    let times = armed_programs().zip(before).zip(read()?);
    Ok(times
        .map(|((name, before), after)| ProgramTime {
            program: name.to_owned(),
            runs: after.runs.saturating_sub(before.runs),
            run_time: Duration::from_nanos(after.run_time_ns.saturating_sub(before.run_time_ns)),
        })
        .collect())
}
