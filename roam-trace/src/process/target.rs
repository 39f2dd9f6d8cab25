//! A process that a command reads, with what it offers to a tracer.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use roam_dump::model;
use roam_dump::read::{self, Budget, Image, MethodKey, ReadError, RegionMemory};
use roam_trace_common::registry::{ConnectionRecord, HeaderRecord};

use super::clock::Clock;
use super::proc::Process;
use super::program::{self, ProbedBinary, Probes};
use super::region;
use super::sockets::SocketLister;
use crate::error::TargetError;

/// How often a header that is not written yet is read again, over all registries of a process.
const HEADER_READS: u32 = 50;
const HEADER_PAUSE: Duration = Duration::from_millis(2);

/// A process that a command reads.
#[derive(Debug)]
pub struct Target {
    /// The process.
    pub process: Process,
    /// Its clocks.
    pub clock: Clock,
    /// Read when they are first needed: a registry is read without them.
    probes: OnceCell<Probes>,
    regions: region::Opened,
    /// Opened when it is first needed.
    socket_lister: OnceCell<SocketLister>,
}

/// The registries of a process, as they were at one moment.
#[derive(Debug, Default)]
pub struct Reading {
    /// Those of the process itself.
    pub images: Vec<Image>,
    /// The pids of processes that it was forked from, whose registries it still maps.
    pub inherited: Vec<u32>,
    /// Why others could not be read.
    pub errors: Vec<ReadError>,
    /// Whether there are so many that some were not read.
    pub is_cut: bool,
    /// What is left of the budget.
    pub left: Budget,
    /// The moment, on the process's `CLOCK_MONOTONIC`: later than every time in the registries.
    pub now_ns: u64,
}

impl Reading {
    /// Returns whether all of its registries were read, as far as the budget allowed.
    pub fn is_whole(&self) -> bool {
        let is_whole =
            |image: &Image| image.torn == 0 && image.invalid == 0 && image.truncated.slots == 0;
        self.errors.is_empty() && !self.is_cut && self.images.iter().all(is_whole)
    }
}

impl Target {
    /// Finds a process.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if there is no such process, it runs no program, or it cannot be read.
    pub fn find(pid: u32) -> Result<Self, TargetError> {
        let process = Process::open(pid)?;
        let clock =
            Clock::of(&process).map_err(|error| process.error("read the clocks of", error))?;
        Ok(Self {
            process,
            clock,
            probes: OnceCell::new(),
            regions: region::Opened::default(),
            socket_lister: OnceCell::new(),
        })
    }

    /// Returns its pid.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns its pid and name.
    pub fn label(&self) -> model::Process {
        model::Process {
            pid: self.pid(),
            name: self.process.name().to_owned(),
        }
    }

    /// Returns its files with probes. They stay open, so that what is attached to is what was checked.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn probed(&self) -> Result<&[ProbedBinary], TargetError> {
        Ok(&self.probes()?.binaries)
    }

    /// Returns those of its files whose probe notes are wrong, and why.
    ///
    /// # Errors
    ///
    /// As [`Self::probed`].
    pub fn refused_probes(&self) -> Result<&[String], TargetError> {
        Ok(&self.probes()?.refused)
    }

    fn probes(&self) -> Result<&Probes, TargetError> {
        if let Some(probes) = self.probes.get() {
            return Ok(probes);
        }
        let probes = program::probes(&self.process)?;
        Ok(self.probes.get_or_init(|| probes))
    }

    /// Returns the lister of the sockets in the process's network namespace. It stays open, so that later no
    /// capability is needed to enter that.
    ///
    /// # Errors
    ///
    /// The error of the system call: entering another namespace takes CAP_SYS_ADMIN.
    pub fn socket_lister(&self) -> io::Result<&SocketLister> {
        if let Some(lister) = self.socket_lister.get() {
            return Ok(lister);
        }
        let lister = SocketLister::open_in(&self.process)?;
        Ok(self.socket_lister.get_or_init(|| lister))
    }

    /// Reads the registries that the process maps now, as far as the budget allows.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn read(&self, budget: Budget) -> Result<Reading, TargetError> {
        self.read_with(budget, read::read_within)
    }

    /// Reads only what the registries hold of methods, as far as the budget allows.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_methods(&self, budget: Budget) -> Result<Reading, TargetError> {
        self.read_with(budget, read::read_methods)
    }

    fn read_with(
        &self,
        mut budget: Budget,
        read: fn(&File, &mut Budget) -> Result<Image, ReadError>,
    ) -> Result<Reading, TargetError> {
        let mut reading = Reading::default();
        let regions = region::open_regions(&self.process, &self.regions)?;
        reading.is_cut = regions.is_cut;
        let mut reads = HEADER_READS;
        for region in &regions.files {
            match wait_for_header(region, &mut reads) {
                Ok(header) if !self.owns(&header) => reading.inherited.push(header.process_id),
                Ok(_) => match read(region.as_ref(), &mut budget) {
                    Ok(image) => reading.images.push(image),
                    Err(error) => reading.errors.push(error),
                },
                Err(error) => reading.errors.push(error),
            }
        }
        reading.left = budget;
        reading.now_ns = self.clock.now_ns();
        // The memory outlives the process; what it says then is nobody's.
        if !self.process.is_alive() {
            return Err(TargetError::Ended { pid: self.pid() });
        }
        log::info!(
            "process {} has {} registries; it inherited {}, and {} cannot be read",
            self.pid(),
            reading.images.len(),
            reading.inherited.len(),
            reading.errors.len()
        );
        Ok(reading)
    }

    /// Returns the budget that reading its registries takes, as far as they can be read.
    pub fn need(&self) -> Budget {
        let own = self.own_registries().unwrap_or_default();
        let headers: Vec<_> = own.into_iter().map(|(_, header)| header).collect();
        Budget::need(&headers)
    }

    /// Returns its own registries and their headers, as far as they can be read.
    fn own_registries(&self) -> Result<Vec<(Rc<File>, HeaderRecord)>, TargetError> {
        let regions = region::open_regions(&self.process, &self.regions)?;
        let with_header = |region: Rc<File>| {
            let header = read::read_header(region.as_ref()).ok()?;
            self.owns(&header).then_some((region, header))
        };
        Ok(regions.files.into_iter().filter_map(with_header).collect())
    }

    /// Returns whether it has a registry of its own.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn has_registry(&self) -> Result<bool, TargetError> {
        Ok(!self.own_registries()?.is_empty())
    }

    /// Reads only the connections of each registry of the process, as far as the budget allows.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn read_connections(
        &self,
        budget: Budget,
    ) -> Result<Vec<BTreeMap<u64, ConnectionRecord>>, TargetError> {
        self.read_each(budget, read::read_connections)
    }

    /// Reads how many calls of each method each registry of the process has seen end, as far as the budget allows.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn read_ended(&self, budget: Budget) -> Result<Vec<HashMap<MethodKey, u64>>, TargetError> {
        self.read_each(budget, read::read_ended)
    }

    /// Reads the serials of the requests and channels of each registry of the process, as far as the budget allows.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn read_serials(&self, budget: Budget) -> Result<Vec<[Vec<u64>; 2]>, TargetError> {
        self.read_each(budget, read::read_serials)
    }

    /// Reads something of each registry that can be read.
    fn read_each<T>(
        &self,
        mut budget: Budget,
        read: fn(&File, &mut Budget) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, TargetError> {
        let own = self.own_registries()?.into_iter();
        Ok(own
            .filter_map(|(region, _)| read(region.as_ref(), &mut budget).ok())
            .collect())
    }

    /// Returns whether a registry is the process's own, not one of a process that it was forked from.
    fn owns(&self, header: &HeaderRecord) -> bool {
        header.process_id == self.process.namespace_pid()
            // A writer that sees no /proc does not know when it started.
            && (header.process_start_ticks == 0
                || self
                    .clock
                    .is_same_start(header.process_start_ticks, self.process.start_ticks()))
    }
}

/// Reads a region's header, and waits a little where that is being made.
fn wait_for_header(region: &File, reads: &mut u32) -> Result<HeaderRecord, ReadError> {
    while *reads > 0 {
        let mut magic = [0; 8];
        if region.read_at(&mut magic, 0)? == 0 || magic != [0; 8] {
            break;
        }
        *reads -= 1;
        sleep(HEADER_PAUSE);
    }
    read::read_header(region)
}
