//! The second step: reads what the processes have in flight.

use std::mem;
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use roam_dump::analysis::CounterSample;
use roam_dump::model::{Gap, Process, Snapshot};
use roam_dump::read::Budget;
use roam_trace_common::event::TargetEnd;

use super::by_probes::{Snapped, by_probes};
use super::sample::sample;
use crate::cli::{DumpArgs, Source};
use crate::command::by_registry::by_registry;
use crate::command::errors::Errors;
use crate::command::report::{processes, report};
use crate::command::select::Selected;
use crate::error::{Exit, TargetError};
use crate::kernel::Maps;
use crate::merge::Comparison;
use crate::process::{Share, Target};
use crate::watch::{Watched, watch};

/// Pauses before the kernel maps are read once more, as long as they differ from a registry: a thread of the
/// target may be anywhere between its registry and the probe, and not have its turn.
const SETTLE_PAUSES_MS: [u64; 4] = [1, 10, 50, 200];

/// What the processes have in flight.
pub(super) struct Captured {
    /// The snapshots of those that could be read.
    pub(super) snapshots: Vec<Snapshot>,
    /// The moment that ages count back from.
    pub(super) taken_at: Timestamp,
    /// What the connections published before.
    pub(super) before: CounterSample,
    /// What the probes reported. They are attached until this is dropped.
    pub(super) watching: Watching,
}

/// What the probes reported.
pub(super) enum Watching {
    /// Without `-d`.
    Unasked,
    /// They were attached in every process that has probes.
    Done(Box<Watched>),
    /// They could not be attached, for a reason that was reported.
    Failed(String),
}

/// With `-d`, attaches the probes for a while; then reads the registries.
pub(super) fn capture(
    selected: &Selected,
    args: &DumpArgs,
    verbose: bool,
    errors: &mut Errors,
) -> Captured {
    let budget = Budget::of_rows(args.max_rows);
    let mut watching = Watching::Unasked;
    if let Some(duration) = args.duration {
        let shares = Share::divide(budget, &selected.targets);
        watching = watch_probes(&shares, args.source, duration, verbose, errors);
        // They do not need what they needed, nor map what they mapped.
        selected.targets.iter().for_each(Target::forget_mappings);
    }
    let shares = Share::divide(budget, &selected.targets);
    read(selected, &shares, args.source, watching, errors)
}

/// Captures once more, after processes were added to those that were selected. What probes have reported is not read
/// again: the rows of their processes stay, and what they leave of the budget is for the others.
pub(super) fn capture_again(
    captured: Captured,
    selected: &Selected,
    args: &DumpArgs,
    errors: &mut Errors,
) -> Captured {
    let Captured {
        mut snapshots,
        before,
        watching,
        ..
    } = captured;
    let mut budget = Budget::of_rows(args.max_rows);
    if matches!(watching, Watching::Unasked) {
        // There is no room for them twice.
        drop(snapshots);
        let shares = Share::divide(budget, &selected.targets);
        return read(selected, &shares, args.source, watching, errors);
    }
    let (followed, asked_for): (Vec<_>, Vec<_>) =
        (selected.targets.iter()).partition(|target| target.is_followed);
    for share in Share::divide(budget, asked_for) {
        let needed = share.target.need().rows.min(share.budget.rows);
        budget.rows = budget.rows.saturating_sub(needed);
    }
    let shares = Share::divide(budget, followed);
    let mut captured = read(selected, &shares, args.source, watching, errors);
    snapshots.retain(|snapshot| !snapshot.followed);
    snapshots.append(&mut captured.snapshots);
    captured.snapshots = snapshots;
    captured.before.0.extend(before.0);
    captured
}

/// Reads the registries of some of the processes.
fn read(
    selected: &Selected,
    shares: &[Share<'_>],
    source: Source,
    mut watching: Watching,
    errors: &mut Errors,
) -> Captured {
    let before = sample(shares).into_counters(selected.targets.len());
    let mut snapped = Vec::new();
    for share in shares {
        match snap(share, source, &watching, errors) {
            Ok(done) => snapped.extend(done),
            Err(error @ TargetError::Ended { .. }) if selected.is_found(share.target) => {
                log::debug!("{error}");
            }
            // Nobody asked for it: a health check must not fail because of it.
            Err(error) if share.target.is_followed => report(&error),
            Err(error) => errors.report(&error),
        }
    }
    let taken_at = Timestamp::now();
    let snapshots = finish(snapped, &mut watching, errors);
    Captured {
        snapshots,
        taken_at,
        before,
        watching,
    }
}

fn watch_probes(
    shares: &[Share<'_>],
    source: Source,
    duration: Duration,
    verbose: bool,
    errors: &mut Errors,
) -> Watching {
    // An error comes again, and is reported, where the process has its turn.
    let has_probes = |target: &Target| target.probed().is_ok_and(|probed| !probed.is_empty());
    let shares = shares.iter().filter(|share| has_probes(share.target));
    let shares: Vec<_> = shares.collect();
    if shares.is_empty() {
        return Watching::Failed("no process has probes".to_owned());
    }
    match watch(&shares, source == Source::Auto, duration, verbose) {
        Ok(watched) => Watching::Done(Box::new(watched)),
        Err(error) => {
            let exit = error.exit();
            let text = format!("{:#}", anyhow::Error::new(error));
            let pids: Vec<_> = shares.iter().map(|share| share.target.pid()).collect();
            errors.report_as(exit, &format_args!("{}: {text}", processes(&pids)));
            Watching::Failed(text)
        }
    }
}

/// The snapshot of one process by the sources there are; none where it was reported already why not.
fn snap(
    share: &Share<'_>,
    source: Source,
    watching: &Watching,
    errors: &mut Errors,
) -> Result<Option<Snapped>, TargetError> {
    let target = share.target;
    if let Watching::Done(watched) = watching
        && let Some(exited) = watched.maps.exited(target.pid())
        && exited.end == TargetEnd::Exit
    {
        return Err(TargetError::EndedWhileWatched {
            pid: target.pid(),
            started: exited.traffic.started,
            ended: exited.traffic.ended,
        });
    }
    // After the kernel maps.
    let reading = target.read(share.budget)?;
    let not_attached = |mut snapshot: Snapshot, why: &str| {
        let text = why.to_owned();
        snapshot.gaps.push(Gap::Other { text });
        Ok(Some(Snapped::Done(snapshot)))
    };
    match watching {
        _ if target.is_followed => Ok(Some(Snapped::Done(by_registry(target, reading)?))),
        Watching::Unasked => Ok(Some(Snapped::Done(by_registry(target, reading)?))),
        _ if target.probed()?.is_empty() => {
            let snapshot = by_registry(target, reading)?;
            let error = no_probes(target)?;
            if source == Source::Probes {
                return Err(error);
            }
            errors.report(&error);
            not_attached(snapshot, "the process has no probes")
        }
        Watching::Done(watched) => by_probes(share, source, reading, watched).map(Some),
        Watching::Failed(_) if source == Source::Probes => Ok(None),
        Watching::Failed(error) => not_attached(by_registry(target, reading)?, error),
    }
}

/// Returns why the probes of a process cannot be attached although they were asked for.
fn no_probes(target: &Target) -> Result<TargetError, TargetError> {
    let Process { pid, name, .. } = target.label();
    Ok(match target.refused_probes()?.first() {
        Some(refused) => TargetError::RefusedProbes {
            pid,
            name,
            refused: refused.clone(),
        },
        None => TargetError::NoProbes { pid, name },
    })
}

/// Reads the kernel maps again until they differ no more from the registries.
fn finish(
    mut snapped: Vec<Snapped>,
    watching: &mut Watching,
    errors: &mut Errors,
) -> Vec<Snapshot> {
    let mut maps = Maps::default();
    if let Watching::Done(watched) = watching {
        maps = mem::take(&mut watched.maps);
        for pause_ms in SETTLE_PAUSES_MS {
            let mut open: Vec<_> = snapped.iter_mut().filter_map(unsettled).collect();
            if open.is_empty() {
                break;
            }
            sleep(Duration::from_millis(pause_ms));
            // There may be a hundred thousand rows: no room for them twice.
            drop(mem::take(&mut maps));
            match watched.read_again() {
                Ok(now) => maps = now,
                Err(error) => {
                    errors.report_as(Exit::Failure, &error);
                    open.iter_mut()
                        .for_each(|comparison| comparison.forget_differences());
                    break;
                }
            }
            open.iter_mut()
                .for_each(|comparison| comparison.settle(&maps));
        }
    }
    snapped
        .into_iter()
        .map(|snapped| match snapped {
            Snapped::Done(snapshot) => snapshot,
            Snapped::Compared(comparison) => comparison.finish(&maps),
        })
        .collect()
}

fn unsettled(snapped: &mut Snapped) -> Option<&mut Comparison> {
    match snapped {
        Snapped::Compared(comparison) if !comparison.is_settled() => Some(comparison),
        Snapped::Compared(_) | Snapped::Done(_) => None,
    }
}
