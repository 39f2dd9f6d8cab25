//! Reads the processes again and again.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::time::{Duration, Instant};

use anyhow::Result;
use roam_dump::analysis::{Facts, Thresholds};
use roam_dump::decode::loss_gaps;
use roam_dump::model::{Gap, Snapshot, Source};
use roam_dump::read::{Budget, Image, Latencies};
use roam_trace_common::event::{Direction, Loss};

use crate::cli::{self, TopArgs, TopSource};
use crate::command::by_kernel::by_kernel;
use crate::command::by_pins::by_pins;
use crate::command::by_registry::by_registry;
use crate::command::errors::Errors;
use crate::command::pins::{PinnedRows, Pins};
use crate::command::report::processes;
use crate::command::select::{Selected, find_target, select};
use crate::error::TargetError;
use crate::kernel::Maps;
use crate::merge::join_registries;
use crate::privilege;
use crate::process::proc::{self, Process};
use crate::process::{Share, Target, maps, program, retire_worker};
use crate::top::{Key, MethodKey, ProcessReading, ProcessStatus, Reading};
use crate::watch::Attached;

/// Time between two looks for new processes, and for registries that are new in those that are read.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// Processes that one such look opens, those that no look has opened first.
const SCANNED: usize = 64;
/// Time of a processor that the lists of mappings may take for one, and as much for the probes in armed files.
const SCAN_TIME: Duration = Duration::from_millis(50);

/// Reads the processes again and again.
pub(super) struct Collector<'a> {
    args: &'a TopArgs,
    selected: Selected,
    pins: Pins,
    /// With `--source probes`.
    attached: Option<Attached>,
    budget: Budget,
    /// Processes whose registry has their requests: they are read without the maps.
    by_registry: HashSet<u32>,
    scan: Scan,
}

/// What looking for new processes remembers.
struct Scan {
    at: Instant,
    number: u64,
    /// The number of the look that opened a process last; the maximum if it cannot be read.
    opened: HashMap<u32, u64>,
}

impl<'a> Collector<'a> {
    /// Selects the processes; `None` if there is none to read, for a reason that was reported.
    ///
    /// # Errors
    ///
    /// Where processes cannot be listed.
    pub(super) fn open(
        args: &'a TopArgs,
        verbose: bool,
        errors: &mut Errors,
    ) -> Result<Option<Self>> {
        let pins = match args.source {
            TopSource::Auto => Pins::open(),
            TopSource::Probes => Pins::default(),
        };
        let mut selected = select(&args.targets, &pins.pids(), errors)?;
        let budget = Budget::of_rows(args.max_rows);
        let budget = Budget {
            latencies: budget.methods,
            ..budget
        };
        let attached = match args.source {
            TopSource::Auto => None,
            TopSource::Probes => match attach(&mut selected, budget, verbose, errors) {
                Some(attached) => Some(attached),
                None => return Ok(None),
            },
        };
        privilege::drop_attach_privileges()?;
        retire_worker();
        // What cannot be read from the start is an error, as it is for a dump.
        let mut unreadable = HashSet::new();
        for target in &selected.targets {
            let checked = match attached {
                Some(_) => Ok(()),
                None => check(target, budget, &pins),
            };
            if let Err(error) = checked {
                unreadable.insert(target.pid());
                match selected.is_found(target) {
                    true => errors.report_found(error),
                    false => errors.report(&error),
                }
            }
        }
        errors.report_denied();
        selected.remove(&unreadable);
        if selected.targets.is_empty() && !args.targets.all {
            return Ok(None);
        }
        Ok(Some(Self {
            args,
            selected,
            pins,
            attached,
            budget,
            by_registry: HashSet::new(),
            scan: Scan {
                at: Instant::now(),
                number: 0,
                opened: HashMap::new(),
            },
        }))
    }

    /// Reads every process.
    pub(super) fn read(&mut self) -> Reading {
        if self.scan.at.elapsed() >= SCAN_EVERY {
            self.scan();
        }
        let mut problems: Vec<_> = self.pins.gap().iter().map(Gap::to_string).collect();
        let shares = Share::divide(self.budget, &self.selected.targets);
        // Before the registries.
        let attached = self.attached.as_ref().map(Attached::read).transpose();
        let attached = attached.unwrap_or_else(|error| {
            problems.push(error.to_string());
            None
        });
        let by_maps = shares.iter().map(|share| share.target);
        let by_maps = by_maps.filter(|target| !self.by_registry.contains(&target.pid()));
        let pinned = self.pins.rows(by_maps).unwrap_or_else(|error| {
            problems.push(error.to_string());
            None
        });
        let mut processes = Vec::new();
        let mut gone = HashSet::new();
        let mut by_registry = HashSet::new();
        for share in &shares {
            let target = share.target;
            let latest = match &attached {
                Some(maps) => read_maps(share, maps),
                None => read(share, pinned.as_ref(), &mut by_registry),
            };
            match latest {
                Err(error) if error.is_no_process() && self.selected.is_found(target) => {
                    gone.insert(target.pid());
                }
                latest => processes.push(process_reading(target, latest)),
            }
        }
        self.by_registry = by_registry;
        self.selected.remove(&gone);
        explain(processes, problems)
    }

    /// With `--all`, adds processes that are new. Registries that are new are found by the next reading.
    fn scan(&mut self) {
        maps::renew_allowance(SCAN_TIME);
        program::renew_allowance(SCAN_TIME);
        self.scan.at = Instant::now();
        self.scan.number += 1;
        for target in &self.selected.targets {
            target.forget_mappings();
        }
        if !self.args.targets.all || self.attached.is_some() {
            return;
        }
        let Ok(mut pids) = proc::pids() else { return };
        let opened = &mut self.scan.opened;
        opened.retain(|pid, _| pids.binary_search(pid).is_ok());
        pids.retain(|&pid| {
            !self.selected.contains(pid) && opened.get(&pid).is_none_or(|&look| look < u64::MAX)
        });
        pids.sort_by_key(|pid| opened.get(pid).copied().unwrap_or(0));
        pids.truncate(SCANNED);
        let users = &self.args.targets.users;
        let armed = self.pins.pids();
        for pid in pids {
            let found = Process::open(pid).and_then(|process| {
                match users.is_empty() || users.contains(&process.user()) {
                    true => find_target(process, &armed),
                    false => Ok(None),
                }
            });
            let look = match found {
                Ok(Some(target)) => {
                    self.selected.add_found(target);
                    continue;
                }
                Ok(None) => self.scan.number,
                Err(TargetError::NoSuchProcess { .. } | TargetError::Ended { .. }) => continue,
                // Whatever denied it does so again, and one that does not answer takes a thread each time.
                Err(_) => u64::MAX,
            };
            self.scan.opened.insert(pid, look);
        }
    }
}

/// Attaches the probes of every process that has some, and removes the others; `None` for a reason that was reported.
fn attach(
    selected: &mut Selected,
    budget: Budget,
    verbose: bool,
    errors: &mut Errors,
) -> Option<Attached> {
    let shares = Share::divide(budget, &selected.targets);
    let mut probed = Vec::new();
    let mut others = HashSet::new();
    for share in &shares {
        let error = match share.target.probed() {
            Ok([]) => match share.target.why_no_probes() {
                Ok(error) | Err(error) => error,
            },
            Ok(_) => {
                probed.push(share);
                continue;
            }
            Err(error) => error,
        };
        errors.report(&error);
        others.insert(share.target.pid());
    }
    if probed.is_empty() {
        return None;
    }
    match Attached::attach(&probed, false, verbose) {
        Ok(attached) => {
            selected.remove(&others);
            Some(attached)
        }
        Err(error) => {
            let exit = error.exit();
            let pids: Vec<_> = probed.iter().map(|share| share.target.pid()).collect();
            let text = format!("{:#}", anyhow::Error::new(error));
            errors.report_as(exit, &format_args!("{}: {text}", processes(&pids)));
            None
        }
    }
}

/// Whether a process can be read at all.
fn check(target: &Target, budget: Budget, pins: &Pins) -> Result<(), TargetError> {
    let reading = target.read_methods(budget)?;
    let needs_maps = reading.images.is_empty() && reading.inherited.is_empty();
    match needs_maps && pins.rows([target]).is_ok_and(|rows| rows.is_some()) {
        true => Ok(()),
        false => by_registry(target, reading).map(|_| ()),
    }
}

/// The rows of a process, and how long the calls of its methods took.
type Latest = (Snapshot, HashMap<MethodKey, Latencies>);

fn process_reading(target: &Target, latest: Result<Latest, TargetError>) -> ProcessReading {
    let none = || {
        let snapshot = Snapshot::new(target.label(), Source::Registry, 0);
        (snapshot, HashMap::new())
    };
    let (status, (snapshot, latencies)) = match latest {
        Ok(latest) => (ProcessStatus::Read, latest),
        Err(error) if error.is_no_process() => (ProcessStatus::Ended, none()),
        Err(error) => (ProcessStatus::Unreadable(error.to_string()), none()),
    };
    ProcessReading {
        key: Key {
            pid: target.pid(),
            start_ticks: target.process.start_ticks(),
        },
        status,
        snapshot,
        latencies,
    }
}

/// Reads a process by its registry; where that has no requests, by the pinned maps. Adds it to `by_registry` if the registry
/// has them.
fn read(
    share: &Share<'_>,
    pinned: Option<&PinnedRows>,
    with_registry: &mut HashSet<u32>,
) -> Result<Latest, TargetError> {
    let target = share.target;
    let mut reading = target.read(share.budget)?;
    let latencies = take_latencies(&mut reading.images);
    let images = &reading.images;
    if images.is_empty() {
        // It may have one when it is read next.
        target.forget_mappings();
    } else if !images.iter().any(Image::is_probes_only) {
        with_registry.insert(target.pid());
        return Ok((by_registry(target, reading)?, latencies));
    }
    let covered = pinned.and_then(|rows| Some((rows, rows.processes.get(&target.pid())?)));
    let Some((rows, covered)) = covered else {
        return Ok((by_registry(target, reading)?, latencies));
    };
    let mut snapped = by_pins(share, cli::Source::Auto, reading, rows, covered)?;
    // What differs may just have begun or ended.
    if let Some(comparison) = snapped.unsettled() {
        comparison.forget_differences();
    }
    Ok((snapped.finish(&rows.maps), latencies))
}

/// Reads a process by the probes that are attached to it. Names and statistics are those of its registry.
fn read_maps(share: &Share<'_>, maps: &Maps) -> Result<Latest, TargetError> {
    let target = share.target;
    let mut reading = target.read(share.budget)?;
    let latencies = take_latencies(&mut reading.images);
    let images = &mut reading.images;
    let of_registry = join_registries(&target.label(), images, reading.now_ns, &target.clock);
    let mut snapshot = by_kernel(target, images, maps, &share.budget);
    snapshot.methods = of_registry
        .map(|registry| registry.methods)
        .unwrap_or_default();
    // No window is counted, so that connections which come and go may fill the map for that.
    let losses = maps.losses.iter();
    let losses = losses.filter(|(loss, _)| !matches!(loss, Loss::TrafficInsert));
    snapshot.gaps.extend(loss_gaps(losses, false));
    snapshot.gaps.push(Gap::Other {
        text: "requests and channels that started before the probes were attached are missing"
            .to_owned(),
    });
    Ok((snapshot, latencies))
}

fn take_latencies(images: &mut [Image]) -> HashMap<MethodKey, Latencies> {
    let mut latencies = HashMap::new();
    for (registry, image) in (0..).zip(images) {
        for totals in &mut image.statistics {
            let (method_id, direction) = totals.key;
            if let Some(of_method) = totals.latencies.take()
                && let Some(direction) = Direction::from_code(direction)
            {
                let key = MethodKey {
                    registry,
                    direction,
                    method_id,
                };
                latencies.insert(key, of_method);
            }
        }
    }
    latencies
}

/// Gives the rows their verdicts. That a process which could not be read lacks rows says nothing.
fn explain(mut processes: Vec<ProcessReading>, problems: Vec<String>) -> Reading {
    let was_read = |process: &&mut ProcessReading| process.status == ProcessStatus::Read;
    let take = |process: &mut ProcessReading| {
        let label = process.snapshot.process.clone();
        let none = Snapshot::new(label, Source::Registry, 0);
        mem::replace(&mut process.snapshot, none)
    };
    let mut snapshots: Vec<_> = processes.iter_mut().filter(was_read).map(take).collect();
    let explanation = roam_dump::explain(&mut snapshots, &Facts::default(), &Thresholds::default());
    for (process, snapshot) in processes.iter_mut().filter(was_read).zip(snapshots) {
        process.snapshot = snapshot;
    }
    Reading {
        processes,
        graph: explanation.graph,
        problems,
    }
}
