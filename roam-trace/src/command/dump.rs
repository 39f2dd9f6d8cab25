//! `roam-trace -p PID`: what processes are waiting for.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use roam_dump::model::WaitGraph;
use roam_dump::model::{Dump, Gap, Process, SCHEMA_VERSION, Snapshot, Source as Rows};
use roam_dump::read::{Budget, Image};
use roam_dump::render::{dot, graph, json, text};
use roam_trace_common::event::{TargetEnd, TrafficValue};
use roam_trace_common::limits;

use super::report::report;
use crate::cli::{DumpArgs, Source};
use crate::error::{Exit, TargetError};
use crate::explain::{counters, explain_all};
use crate::merge;
use crate::privilege;
use crate::process::missing_registry::MissingRegistry;
use crate::process::{Reading, Target, proc, program};
use crate::watch::{Watched, watch};

/// Dumps what can be dumped and tells about the rest.
///
/// # Errors
///
/// Where the output cannot be written.
pub(super) fn run(
    args: &DumpArgs,
    color: bool,
    verbose: bool,
    out: &mut impl Write,
) -> Result<Exit> {
    let mut outcome = Outcome::default();
    let mut targets = outcome.targets(args)?;
    divide_budget(&mut targets, args);
    let watched = match args.duration {
        None => Watch::Unasked,
        Some(duration) => outcome.watch(&targets, args.source, duration, verbose),
    };
    if args.duration.is_some() {
        // They are not what they were.
        divide_budget(&mut targets, args);
    }
    let all: Vec<&Target> = targets.iter().collect();
    let before = counters(&all);
    let mut processes = Vec::new();
    for target in &targets {
        match outcome.snapshot(target, args.source, &watched) {
            // Nobody asked for this very process, and most processes end some time.
            Err(error @ TargetError::Ended { .. }) if outcome.found.contains(&target.pid()) => {
                log::debug!("{error}");
            }
            snapshot => processes.extend(outcome.keep(snapshot).flatten()),
        }
    }
    // What follows takes time, and ages are as of now.
    let taken_at = Timestamp::now();
    let graph = explain_all(&mut processes, &all, before, |target| {
        // Without saying again what could not be read.
        let mut quiet = Outcome::default();
        match watched {
            Watch::Unasked => quiet.snapshot(target, args.source, &watched).ok()?,
            // What the kernel maps held is as old as it was.
            Watch::Done(_) | Watch::Failed(_) => None,
        }
    });
    // Whoever reads the dump slowly must keep neither the probes attached nor privileges.
    drop(watched);
    privilege::keep_nothing()?;
    if let Some(min_age) = args.min_age {
        for snapshot in &mut processes {
            snapshot.retain_older(micros(min_age));
        }
    }
    if !processes.is_empty() {
        let dump = Dump {
            schema_version: SCHEMA_VERSION,
            taken_at,
            processes,
            graph: Some(graph),
        };
        print(&dump, args, color, out)?;
        if let (Some(limit), Some(graph)) = (args.fail_if_stuck, &dump.graph) {
            outcome.fail_if_stuck(graph, limit);
        }
    }
    Ok(outcome.exit)
}

/// Says of every process how much of its registries may be read.
fn divide_budget(targets: &mut [Target], args: &DumpArgs) {
    // What is watched is there twice, once by the registry and once by the probes.
    let copies = match (args.duration, args.source) {
        (Some(_), Source::Auto) => 2,
        _ => 1,
    };
    let needs: Vec<_> = targets.iter().map(Target::need).collect();
    let shares = Budget::of_rows(args.max_rows / copies).divide(&needs);
    for (target, share) in targets.iter_mut().zip(shares) {
        target.budget = share;
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn print(dump: &Dump, args: &DumpArgs, color: bool, out: &mut impl Write) -> io::Result<()> {
    if args.json {
        return json::render(out, dump);
    }
    if let (true, Some(graph)) = (args.dot, &dump.graph) {
        return dot::render(out, graph);
    }
    let options = text::Options {
        color,
        time_zone: TimeZone::system(),
    };
    text::render(out, dump, &options)
}

/// What the probes told.
#[derive(Debug)]
enum Watch {
    /// Nobody asked for it.
    Unasked,
    /// They were watched, those of every process that has any.
    Done(Box<Watched>),
    /// They could not be watched; stderr knows.
    Failed(String),
}

/// How the command is to end, as far as is known.
struct Outcome {
    exit: Exit,
    /// The processes that were found by `--all` or `--children`.
    found: Vec<u32>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            exit: Exit::Success,
            found: Vec::new(),
        }
    }
}

impl Outcome {
    /// The processes that were asked for, each once.
    fn targets(&mut self, args: &DumpArgs) -> Result<Vec<Target>> {
        let mut targets: Vec<Target> = Vec::new();
        for &pid in &args.pids {
            if let Some(target) = self.keep(Target::find(pid))
                && !targets.iter().any(|known| known.pid() == target.pid())
            {
                targets.push(target);
            }
        }
        let more = if args.all {
            proc::pids().context("cannot list the processes in /proc")?
        } else if args.children {
            let asked: Vec<u32> = targets.iter().map(Target::pid).collect();
            proc::descendants(&asked).context("cannot list the processes in /proc")?
        } else {
            Vec::new()
        };
        let mut closed = 0_u32;
        for pid in more {
            // Nobody asked for this very process: most have nothing to do with roam, or end meanwhile.
            match Target::find(pid).and_then(|target| Ok((target.has_registry()?, target))) {
                Ok((true, target)) => {
                    if !targets.iter().any(|known| known.pid() == pid) {
                        self.found.push(pid);
                        targets.push(target);
                    }
                }
                Ok((false, _)) => {}
                Err(error) => {
                    log::debug!("{error}");
                    closed += u32::from(matches!(error, TargetError::NoPermission { .. }));
                }
            }
        }
        if closed > 0 {
            report(&format_args!(
                "processes that could not be looked into: {closed}; run as root to see them"
            ));
        }
        if targets.is_empty() && args.all {
            report(&"no process found that has a registry");
        }
        Ok(targets)
    }

    /// Ends with a status of its own where the root blocker holds something up for too long.
    fn fail_if_stuck(&mut self, graph: &WaitGraph, limit: Duration) {
        let Some(root) = graph.roots.first() else {
            return;
        };
        if root.oldest_us >= micros(limit) {
            let line = graph::root_line(graph).unwrap_or_default();
            let stuck = Duration::from_micros(root.oldest_us).as_secs_f64();
            report(&format_args!("stuck for {stuck:.1}s: {line}"));
            self.exit = Exit::Stuck;
        }
    }

    /// What there is to go on with; an error is told and decides on the exit status.
    fn keep<T>(&mut self, result: Result<T, TargetError>) -> Option<T> {
        result
            .inspect_err(|error| {
                report(error);
                self.exit = self.exit.max(error.exit());
            })
            .ok()
    }

    fn watch(
        &mut self,
        targets: &[Target],
        source: Source,
        duration: Duration,
        verbose: bool,
    ) -> Watch {
        let mut watchable = Vec::new();
        for target in targets {
            // An error comes again, and is told, where the process's turn is.
            if target.probed().is_ok_and(|probed| !probed.is_empty()) {
                watchable.push(target);
            }
        }
        if watchable.is_empty() {
            return Watch::Failed("no process has probes".to_owned());
        }
        match watch(&watchable, source == Source::Auto, duration, verbose) {
            Ok(watched) => Watch::Done(Box::new(watched)),
            Err(error) => {
                self.exit = self.exit.max(error.exit());
                let text = format!("{:#}", anyhow::Error::new(error));
                report(&text);
                Watch::Failed(text)
            }
        }
    }

    /// The snapshot of one process by whatever source there is; none where it was told already why not.
    fn snapshot(
        &mut self,
        target: &Target,
        source: Source,
        watch: &Watch,
    ) -> Result<Option<Snapshot>, TargetError> {
        if let Watch::Done(watched) = watch
            && let Some(exited) = watched.maps.exited(target.pid())
            && exited.end == TargetEnd::Exit
        {
            return Err(TargetError::EndedWhileWatched {
                pid: target.pid(),
                started: exited.traffic.started,
                ended: exited.traffic.ended,
            });
        }
        // Read after the kernel maps were: what only those have ended in between.
        let mut reading = target.read()?;
        let mut snapshot = match watch {
            Watch::Unasked => by_registry(target, &mut reading)?,
            _ if target.probed()?.is_empty() => {
                let mut snapshot = by_registry(target, &mut reading)?;
                let Process { pid, name } = target.label();
                let error = match target.refused_probes()?.first() {
                    Some(refused) => TargetError::RefusedProbes {
                        pid,
                        name,
                        refused: refused.clone(),
                    },
                    None => TargetError::NoProbes { pid, name },
                };
                if source == Source::Probes {
                    return Err(error);
                }
                snapshot
                    .gaps
                    .push(gap("not watched: it has no probes".to_owned()));
                self.keep::<()>(Err(error));
                snapshot
            }
            Watch::Done(watched) => {
                let mut snapshot = by_probes(target, source, &mut reading, watched)?;
                for refused in target.refused_probes()? {
                    snapshot
                        .gaps
                        .push(gap(format!("probes are left out: {refused}")));
                }
                snapshot
            }
            Watch::Failed(_) if source == Source::Probes => return Ok(None),
            Watch::Failed(error) => {
                let mut snapshot = by_registry(target, &mut reading)?;
                snapshot.gaps.push(gap(format!("not watched: {error}")));
                snapshot
            }
        };
        if reading.is_cut {
            let text = "it maps more registries than a program can have";
            snapshot.gaps.push(gap(text.to_owned()));
        }
        for error in &reading.errors {
            let text = format!("a registry is left out: {error}");
            snapshot.gaps.push(gap(text));
        }
        Ok(Some(snapshot))
    }
}

fn gap(text: String) -> Gap {
    Gap::Other { text }
}

fn by_registry(target: &Target, reading: &mut Reading) -> Result<Snapshot, TargetError> {
    let process = target.label();
    match merge::registries(&process, &mut reading.images, reading.now_ns, &target.clock) {
        Some(snapshot) => Ok(snapshot),
        None => without_registry(target, reading),
    }
}

/// What the kernel maps hold, together with the registry where that is asked for.
fn by_probes(
    target: &Target,
    source: Source,
    reading: &mut Reading,
    watched: &Watched,
) -> Result<Snapshot, TargetError> {
    let process = target.label();
    let images = &mut reading.images;
    // A forked child reports nothing, and there is nothing to watch in it.
    if images.is_empty() && !reading.inherited.is_empty() {
        return without_registry(target, reading);
    }
    if source == Source::Probes {
        images.iter_mut().for_each(Image::forget_rows);
    }
    let clock = &target.clock;
    let room = match source {
        Source::Auto => target.budget,
        // The maps are limited themselves.
        Source::Registry | Source::Probes => Budget {
            rows: limits::REQUESTS as usize,
            channels: limits::CHANNELS as usize,
            ..target.budget
        },
    };
    let maps = &watched.maps;
    let seen = merge::probes(&process, maps, watched.is_seeded, images, clock, &room);
    let by_registry = match source {
        Source::Auto => merge::registries(&process, images, reading.now_ns, clock),
        // Of the registry only names were of use.
        Source::Registry | Source::Probes => None,
    };
    let mut snapshot = match by_registry {
        Some(mut snapshot) => {
            merge::confirm(&mut snapshot, seen);
            snapshot
        }
        None => {
            let mut snapshot = seen;
            let text = "what began before the probes were watched is missing";
            snapshot.gaps.push(gap(text.to_owned()));
            if !images.is_empty() {
                snapshot
                    .gaps
                    .push(gap("names come from the registry".to_owned()));
            }
            snapshot
        }
    };
    if images.len() > 1 {
        let text = "the probes of several registries are counted together";
        snapshot.gaps.push(gap(text.to_owned()));
    }
    if let Some(exited) = watched.maps.exited(target.pid()) {
        let TrafficValue { started, ended } = exited.traffic;
        let text = format!(
            "it executed another program while it was watched, after {started} requests had started and {ended} had ended"
        );
        snapshot.gaps.push(gap(text));
    }
    snapshot.window = Some(merge::window(
        &snapshot,
        &watched.maps,
        images,
        watched.duration,
    ));
    Ok(snapshot)
}

/// What can be said of a process that has no registry of its own.
fn without_registry(target: &Target, reading: &mut Reading) -> Result<Snapshot, TargetError> {
    let Process { pid, name } = target.label();
    if let Some(error) = reading.errors.pop() {
        return Err(TargetError::Registry { pid, name, error });
    }
    if let Some(&owner) = reading.inherited.first() {
        return Err(TargetError::Inherited { pid, name, owner });
    }
    let process = &target.process;
    if target.probed()?.is_empty() {
        let binaries = program::binaries(process)?;
        return Err(match program::is_built_on_published(&binaries) {
            true => TargetError::Published { pid, name },
            false => TargetError::NotATarget { pid, name },
        });
    }
    let missing = MissingRegistry::of(process)
        .map_err(|error| process.error("read the environment of", error))?;
    match missing {
        MissingRegistry::SwitchedOff => Err(TargetError::SwitchedOff { pid, name }),
        MissingRegistry::FileSizeLimit { bytes } => {
            Err(TargetError::FileSizeLimit { pid, name, bytes })
        }
        MissingRegistry::NothingReported => Ok(Snapshot {
            process: target.label(),
            source: Rows::Registry,
            taken_ns: target.clock.own_ns(target.clock.initial_now_ns()),
            gaps: vec![gap("no connection yet".to_owned())],
            requests: Vec::new(),
            channels: Vec::new(),
            connections: Vec::new(),
            window: None,
        }),
    }
}
