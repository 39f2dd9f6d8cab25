//! What is armed, as a dump uses it: which processes it covers, and their rows.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

use roam_dump::decode::loss_gaps;
use roam_dump::model::Gap;
use roam_trace_common::event::Loss;

use crate::armed::{ArmedError, ArmedSet};
use crate::error::TargetError;
use crate::kernel::{Losses, MapAccessError, Maps};
use crate::process::Target;
use crate::process::clock::Clock;
use crate::process::mapping::FileId;
use crate::process::program::Binary;

/// What is armed.
#[derive(Default)]
pub(super) struct Pins {
    set: Option<ArmedSet>,
    /// Why it cannot be used, although it is there.
    unusable: Option<String>,
    clock: Clock,
    /// Which files have probes, of those that are not armed.
    has_probes: RefCell<HashMap<FileId, bool>>,
}

/// A process whose files are armed.
#[derive(Debug)]
pub(super) struct Covered {
    /// Whether it started when all of its files were armed: then the maps have all that it has in flight.
    pub(super) is_complete: bool,
    /// Microseconds since then.
    pub(super) armed_us: u64,
    /// When, on the clock of the maps. Rows that began before may have ended unseen.
    since_ns: u64,
    /// Which of its probes are not armed.
    pub(super) gaps: Vec<Gap>,
}

/// The rows of covered processes.
pub(super) struct PinnedRows {
    /// By pid.
    pub(super) processes: HashMap<u32, Covered>,
    pub(super) maps: Maps,
    pub(super) read_at: Instant,
}

impl Pins {
    /// Opens what is armed. Without the privilege to do so, nothing is.
    pub(super) fn open() -> Self {
        let mut pins = Self {
            clock: Clock::own().unwrap_or_default(),
            ..Self::default()
        };
        match ArmedSet::open() {
            Ok(set) => pins.set = set,
            Err(error @ ArmedError::Denied { .. }) => log::info!("{error}"),
            Err(error) => pins.unusable = Some(format!("{:#}", anyhow::Error::new(error))),
        }
        pins
    }

    /// Returns the processes that have reported something.
    pub(super) fn pids(&self) -> HashSet<u32> {
        let processes = self.set.as_ref().map(ArmedSet::processes);
        match processes {
            Some(Ok(processes)) => processes.into_keys().collect(),
            Some(Err(error)) => {
                log::info!("{error}");
                HashSet::new()
            }
            None => HashSet::new(),
        }
    }

    /// Returns why what is armed cannot be used.
    pub(super) fn gap(&self) -> Option<Gap> {
        let text = self.unusable.clone()?;
        Some(Gap::Other { text })
    }

    /// Reads the rows of those processes that are covered; `None` if none is.
    pub(super) fn rows<'a>(
        &self,
        targets: impl IntoIterator<Item = &'a Target>,
    ) -> Result<Option<PinnedRows>, MapAccessError> {
        let Some(set) = &self.set else {
            return Ok(None);
        };
        let mut processes = HashMap::new();
        for target in targets {
            match self.cover(set, target) {
                Ok(Some(covered)) => {
                    processes.insert(target.pid(), covered);
                }
                Ok(None) => {}
                // It comes again, and is reported, where the process is read.
                Err(error) => log::debug!("{error}"),
            }
        }
        if processes.is_empty() {
            return Ok(None);
        }
        let mut rows = PinnedRows {
            processes,
            maps: Maps::default(),
            read_at: Instant::now(),
        };
        self.read_again(&mut rows)?;
        if rows.maps.losses.get(Loss::TargetInsert) > 0 {
            let processes = rows.processes.values_mut();
            processes.for_each(|process| process.is_complete = false);
        }
        Ok(Some(rows))
    }

    /// Reads the maps once more.
    pub(super) fn read_again(&self, rows: &mut PinnedRows) -> Result<(), MapAccessError> {
        if let Some(set) = &self.set {
            // There may be a hundred thousand rows: no room for them twice.
            rows.maps = Maps::default();
            rows.read_at = Instant::now();
            rows.maps = set.snapshot()?;
            for (&pid, covered) in &rows.processes {
                if !covered.is_complete {
                    rows.maps.forget_older(pid, covered.since_ns);
                }
            }
        }
        Ok(())
    }

    /// Whether the files of a process are armed, and since when.
    fn cover(&self, set: &ArmedSet, target: &Target) -> Result<Option<Covered>, TargetError> {
        let binaries = target.binaries()?;
        let armed: Vec<_> = binaries
            .iter()
            .filter_map(|binary| set.executable(binary.file))
            .collect();
        let (Some(since_ns), Some(since_boot_ns)) = (
            armed.iter().map(|armed| armed.armed_ns).max(),
            armed.iter().map(|armed| armed.armed_boot_ns).max(),
        ) else {
            return Ok(None);
        };
        let mut gaps = Vec::new();
        for binary in &binaries {
            if set.executable(binary.file).is_none() && self.has_probes(target, binary)? {
                let text = format!("the probes of {} are not armed", binary.name);
                gaps.push(Gap::Other { text });
            }
        }
        let started_ns = self.clock.initial_boot_ns(target.process.start_ticks());
        let now_ns = self.clock.initial_boot_now_ns();
        Ok(Some(Covered {
            is_complete: gaps.is_empty() && started_ns >= since_boot_ns,
            armed_us: now_ns.saturating_sub(since_boot_ns) / 1_000,
            since_ns,
            gaps,
        }))
    }

    fn has_probes(&self, target: &Target, binary: &Binary) -> Result<bool, TargetError> {
        if let Some(&known) = self.has_probes.borrow().get(&binary.file) {
            return Ok(known);
        }
        let sites = binary.probe_sites(&target.process)?;
        let has_probes = sites.is_ok_and(|sites| !sites.is_empty());
        self.has_probes.borrow_mut().insert(binary.file, has_probes);
        Ok(has_probes)
    }
}

impl PinnedRows {
    /// What the maps lack, as gaps. An end without a row may be that of a request that began before.
    pub(super) fn losses(&self) -> impl Iterator<Item = Gap> {
        loss_gaps(self.maps.losses.iter(), false)
    }

    /// The same by kind.
    pub(super) fn lost(&self) -> &Losses {
        &self.maps.losses
    }
}
