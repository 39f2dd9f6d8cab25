//! The second step: reads what the processes have in flight.

use std::collections::HashSet;
use std::mem;
use std::slice;
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use roam_dump::analysis::CounterSample;
use roam_dump::model::{Gap, Process, Snapshot};
use roam_dump::read::Budget;
use roam_trace_common::event::TargetEnd;

use super::by_probes::by_probes;
use super::sample::sample;
use crate::cli::{DumpArgs, Source};
use crate::command::by_pins::by_pins;
use crate::command::by_registry::by_registry;
use crate::command::errors::Errors;
use crate::command::pins::{PinnedRows, Pins};
use crate::command::report::{processes, report};
use crate::command::select::Selected;
use crate::error::{Exit, TargetError};
use crate::kernel::{MapAccessError, Maps};
use crate::merge::Snapped;
use crate::process::{Reading, Share, Target};
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
    /// Without `-d`: those that are armed reported something.
    Unasked(Box<Pins>),
    /// They were attached in every process that has probes.
    Done(Box<Watched>),
    /// They could not be attached, for a reason that was reported.
    Failed(String),
}

/// With `-d`, attaches the probes for a while; then reads the registries.
pub(super) fn capture(
    selected: &Selected,
    args: &DumpArgs,
    pins: Pins,
    verbose: bool,
    errors: &mut Errors,
) -> Captured {
    let budget = Budget::of_rows(args.max_rows);
    let mut watching = Watching::Unasked(Box::new(pins));
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
    if matches!(watching, Watching::Unasked(_)) {
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
    // Before the registries.
    let mut pinned = watching.pinned(shares, errors);
    let mut snapped = Vec::new();
    for share in shares {
        match snap(share, source, &watching, pinned.as_ref(), errors) {
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
    let snapshots = match &mut pinned {
        Some(rows) => settle_pinned(snapped, &watching, rows, errors),
        None => finish(snapped, &mut watching, errors),
    };
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
    pinned: Option<&PinnedRows>,
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
        Watching::Unasked(pins) => {
            by_registry_or_pins(share, source, reading, pins, pinned).map(Some)
        }
        _ if target.is_followed => Ok(Some(Snapped::Done(by_registry(target, reading)?))),
        _ if target.probed()?.is_empty() => {
            let snapshot = by_registry(target, reading)?;
            let error = target.why_no_probes()?;
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

/// The snapshot of a process to which this program attaches nothing.
fn by_registry_or_pins(
    share: &Share<'_>,
    source: Source,
    reading: Reading,
    pins: &Pins,
    pinned: Option<&PinnedRows>,
) -> Result<Snapped, TargetError> {
    let target = share.target;
    if let Some(rows) = pinned
        && let Some(covered) = rows.processes.get(&target.pid())
    {
        return by_pins(share, source, reading, rows, covered);
    }
    if source == Source::Probes {
        let Process { pid, name, .. } = target.label();
        return Err(TargetError::NotArmed { pid, name });
    }
    let mut snapshot = by_registry(target, reading)?;
    snapshot.gaps.extend(pins.gap());
    Ok(Snapped::Done(snapshot))
}

/// A newer snapshot of a process; none if what was reported of it is as old as it was, or it cannot be read.
pub(super) fn read_once_more(share: &Share<'_>, watching: &Watching) -> Option<Snapshot> {
    if !matches!(watching, Watching::Unasked(_)) && !share.target.is_followed {
        return None;
    }
    // What could not be read was reported before.
    let mut errors = Errors::default();
    let shares = slice::from_ref(share);
    let mut pinned = watching.pinned(shares, &mut errors);
    let reading = share.target.read(share.budget).ok()?;
    let (Watching::Unasked(pins), Some(rows)) = (watching, &mut pinned) else {
        return by_registry(share.target, reading).ok();
    };
    let snapped = by_registry_or_pins(share, Source::Auto, reading, pins, Some(rows)).ok()?;
    settle_pinned(vec![snapped], watching, rows, &mut errors).pop()
}

impl Watching {
    /// What is armed has of some processes, if it covers any.
    fn pinned(&self, shares: &[Share<'_>], errors: &mut Errors) -> Option<PinnedRows> {
        let Self::Unasked(pins) = self else {
            return None;
        };
        match pins.rows(shares.iter().map(|share| share.target)) {
            Ok(rows) => rows,
            Err(error) => {
                errors.report_as(Exit::Failure, &error);
                None
            }
        }
    }

    /// The serials of the rows that the pinned maps have of a process now, of requests and of channels.
    pub(super) fn serials(&self, share: &Share<'_>) -> Option<[HashSet<u64>; 2]> {
        let rows = self.pinned(slice::from_ref(share), &mut Errors::default())?;
        let rows = rows.maps.rows_of(share.target.pid());
        Some([
            rows.requests.iter().map(|(key, _)| key.serial).collect(),
            rows.channels.iter().map(|(key, _)| key.serial).collect(),
        ])
    }
}

/// Reads the kernel maps again until they differ no more from the registries.
fn finish(snapped: Vec<Snapped>, watching: &mut Watching, errors: &mut Errors) -> Vec<Snapshot> {
    let mut maps = Maps::default();
    if let Watching::Done(watched) = watching {
        maps = mem::take(&mut watched.maps);
        let read_again = |maps: &mut Maps| {
            // There may be a hundred thousand rows: no room for them twice.
            drop(mem::take(maps));
            *maps = watched.read_again()?;
            Ok(())
        };
        return settle(snapped, &mut maps, |maps| maps, read_again, errors);
    }
    snapped
        .into_iter()
        .map(|snapped| snapped.finish(&maps))
        .collect()
}

/// The same with the pinned maps.
fn settle_pinned(
    snapped: Vec<Snapped>,
    watching: &Watching,
    rows: &mut PinnedRows,
    errors: &mut Errors,
) -> Vec<Snapshot> {
    let read_again = |rows: &mut PinnedRows| match watching {
        Watching::Unasked(pins) => pins.read_again(rows),
        Watching::Done(_) | Watching::Failed(_) => Ok(()),
    };
    settle(snapped, rows, |rows| &rows.maps, read_again, errors)
}

fn settle<S>(
    mut snapped: Vec<Snapped>,
    source: &mut S,
    maps_of: fn(&S) -> &Maps,
    mut read_again: impl FnMut(&mut S) -> Result<(), MapAccessError>,
    errors: &mut Errors,
) -> Vec<Snapshot> {
    for pause_ms in SETTLE_PAUSES_MS {
        let mut open: Vec<_> = snapped.iter_mut().filter_map(Snapped::unsettled).collect();
        if open.is_empty() {
            break;
        }
        sleep(Duration::from_millis(pause_ms));
        if let Err(error) = read_again(source) {
            errors.report_as(Exit::Failure, &error);
            open.iter_mut()
                .for_each(|comparison| comparison.forget_differences());
            break;
        }
        open.iter_mut()
            .for_each(|comparison| comparison.settle(maps_of(source)));
    }
    snapped
        .into_iter()
        .map(|snapped| snapped.finish(maps_of(source)))
        .collect()
}
