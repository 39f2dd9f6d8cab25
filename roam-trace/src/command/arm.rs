//! `roam-trace arm`: attaches the probes of executables for good.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::report::{report, report_armed};
use crate::armed::{Outcome, ToArm, arm, shown, watch};
use crate::attach::{ArmedOptions, ProbedFile};
use crate::cli::ArmArgs;
use crate::elf;
use crate::error::{Exit, TargetError};
use crate::process::Target;
use crate::process::program::ProbedBinary;
use anyhow::Result;

/// Arms files, and with `--watch` those that take their place.
///
/// # Errors
///
/// The output cannot be written.
pub(super) fn run(args: &ArmArgs, out: &mut impl Write) -> Result<Exit> {
    let mut exit = Exit::Success;
    let mut targets = Vec::new();
    let mut to_arm = Vec::new();
    for path in &args.exes {
        match executable(path) {
            Ok(file) => to_arm.push(file),
            Err((at, error)) => {
                report(&format_args!("cannot arm {}: {error}", shown(path)));
                exit = exit.max(at);
            }
        }
    }
    for &pid in &args.pids {
        match Target::find(pid) {
            Ok(target) => targets.push(target),
            Err(error) => {
                report(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    for target in &targets {
        match files_of(target) {
            Ok(files) => to_arm.extend(files),
            Err(error) => {
                report(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    if to_arm.is_empty() {
        return Ok(exit);
    }
    let options = ArmedOptions {
        max_requests: args.max_requests,
        max_channels: args.max_channels,
        max_processes: args.max_processes,
    };
    match arm(&to_arm, &options) {
        Ok(outcomes) => write(&to_arm, &outcomes, out)?,
        Err(error) => return Ok(report_armed(error)),
    }
    if args.watch {
        let paths = to_arm.into_iter().map(|file| file.path).collect();
        drop(targets);
        if let Err(error) = watch(paths, &options, executable_to_arm, |line| report(&line)) {
            return Ok(report_armed(error));
        }
    }
    Ok(exit)
}

fn write(files: &[ToArm], outcomes: &[Outcome], out: &mut impl Write) -> io::Result<()> {
    let mut known = HashSet::new();
    for (file, outcome) in files.iter().zip(outcomes) {
        if !known.insert(&file.path) {
            continue;
        }
        match outcome {
            Outcome::Armed => writeln!(out, "armed {}", shown(&file.path))?,
            Outcome::WasArmed => writeln!(out, "{} was armed", shown(&file.path))?,
        }
    }
    out.flush()
}

/// The files of a process that have probes.
fn files_of(target: &Target) -> Result<Vec<ToArm>, TargetError> {
    let probed = target.probed()?;
    if probed.is_empty() {
        let process = target.label();
        return Err(TargetError::NoProbes {
            pid: process.pid,
            name: process.name,
        });
    }
    let file = |probed: &ProbedBinary| {
        let opened = probed.binary.path();
        let path = std::fs::read_link(&opened);
        let path = path.map_err(|error| target.process.error("find the files of", error))?;
        let sites = probed.sites.clone();
        let file = ProbedFile {
            path: opened,
            sites,
        };
        Ok(ToArm { path, file })
    };
    probed.iter().map(file).collect()
}

/// The file at a path, if it has probes.
fn executable(path: &Path) -> Result<ToArm, (Exit, String)> {
    let failed = |error: io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::NoPermission,
            _ => Exit::Failure,
        };
        (exit, error.to_string())
    };
    // With its symbolic links: another executable may be behind them later.
    let path = std::path::absolute(path).map_err(failed)?;
    // A pipe would keep who opens it waiting.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err((Exit::NotATarget, "it is not a regular file".to_owned()));
    }
    match elf::file_probe_sites(file) {
        Ok(sites) if sites.is_empty() => Err((
            Exit::NotATarget,
            "it has no probes of provider roam; keep .note.stapsdt when you strip it".to_owned(),
        )),
        Ok(sites) => Ok(ToArm {
            file: ProbedFile {
                path: path.clone(),
                sites,
            },
            path,
        }),
        Err(error) => Err((Exit::NotATarget, error.to_string())),
    }
}

fn executable_to_arm(path: &Path) -> Result<ToArm, String> {
    executable(path).map_err(|(_, error)| error)
}
