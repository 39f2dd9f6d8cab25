//! `roam-trace disarm`: detaches what is armed.

use std::io::Write;

use anyhow::Result;
use roam_dump::render::Counted;

use super::report::report_armed;
use crate::armed::{Removed, disarm, disarm_all};
use crate::cli::DisarmArgs;
use crate::error::Exit;

/// Removes the pins of everything, or of some executables.
///
/// # Errors
///
/// The output cannot be written.
pub(super) fn run(args: &DisarmArgs, out: &mut impl Write) -> Result<Exit> {
    let removed = match args.exes.is_empty() {
        true => disarm_all().map(|()| Removed::Set),
        false => disarm(&args.exes),
    };
    match removed {
        Ok(Removed::Set) => writeln!(out, "disarmed everything")?,
        Ok(Removed::Executables(count)) => {
            writeln!(out, "disarmed {}", Counted(count as u64, "executables"))?;
        }
        Err(error) => return Ok(report_armed(error)),
    }
    Ok(Exit::Success)
}
