//! A process that a command reads, with what it offers to a tracer.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

use roam_dump::model;
use roam_dump::read::{self, Budget, Image, MethodKey, ReadError, RegionMemory};
use roam_trace_common::registry::{ConnectionRecord, HeaderRecord};

use super::clock::Clock;
use super::maps::Mappings;
use super::proc::Process;
use super::program::{self, Binary, ProbedBinary, Probes};
use super::region;
use super::sockets::SocketLister;
use crate::error::TargetError;

/// How often headers that are not written yet are read again: over all processes, each of which may have any number
/// that never will be.
static HEADER_READS: AtomicU32 = AtomicU32::new(50);
const HEADER_PAUSE: Duration = Duration::from_millis(2);

/// A process that a command reads.
#[derive(Debug)]
pub struct Target {
    /// The process.
    pub process: Process,
    /// Its clocks.
    pub clock: Clock,
    /// Whether its label has its user: the processes that are read have several.
    pub shows_user: bool,
    /// Whether nobody asked for it: others that are read wait for it.
    pub is_followed: bool,
    /// Read when they are first needed: a registry is read without them.
    probes: OnceCell<Probes>,
    regions: region::Opened,
    /// Read when they are first needed, and again when they no longer hold.
    mappings: RefCell<Option<Arc<Mappings>>>,
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
    /// Whether the process maps more than was looked at, so that there may be others.
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
        Self::of(Process::open(pid)?)
    }

    /// Looks at a process.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if it has ended, or cannot be read.
    pub fn of(process: Process) -> Result<Self, TargetError> {
        let clock =
            Clock::of(&process).map_err(|error| process.error("read the clocks of", error))?;
        Ok(Self {
            process,
            clock,
            shows_user: false,
            is_followed: false,
            probes: OnceCell::new(),
            regions: region::Opened::default(),
            mappings: RefCell::default(),
            socket_lister: OnceCell::new(),
        })
    }

    /// Returns its pid.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns its pid and name, and its user if that is to be shown.
    pub fn label(&self) -> model::Process {
        model::Process {
            user: self.shows_user.then(|| self.process.user()),
            ..model::Process::new(self.pid(), self.process.name())
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
        let probes = program::probes(&self.process, self.binaries()?)?;
        Ok(self.probes.get_or_init(|| probes))
    }

    /// Opens the executable and the libraries of the process, each once.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn binaries(&self) -> Result<Vec<Binary>, TargetError> {
        program::binaries(&self.process, &self.mappings()?)
    }

    /// Returns why a process with neither a registry nor probes is no target.
    ///
    /// # Errors
    ///
    /// As [`Self::binaries`].
    pub fn why_no_target(&self) -> Result<TargetError, TargetError> {
        let model::Process { pid, name, .. } = self.label();
        let published = program::is_built_on_published(&self.process, &self.binaries()?);
        Ok(match published {
            Some(true) => TargetError::Published { pid, name },
            Some(false) | None => TargetError::NotATarget { pid, name },
        })
    }

    /// Returns why the probes of a process that has none cannot be attached.
    ///
    /// # Errors
    ///
    /// As [`Self::probed`].
    pub fn why_no_probes(&self) -> Result<TargetError, TargetError> {
        let model::Process { pid, name, .. } = self.label();
        Ok(match self.refused_probes()?.first() {
            Some(refused) => TargetError::RefusedProbes {
                pid,
                name,
                refused: refused.clone(),
            },
            None => TargetError::NoProbes { pid, name },
        })
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
        for region in &self.regions()? {
            match wait_for_header(region) {
                Ok(header) if !self.owns(&header) => reading.inherited.push(header.process_id),
                Ok(_) => match read(region.as_ref(), &mut budget) {
                    Ok(image) => reading.images.push(image),
                    Err(error) => reading.errors.push(error),
                },
                Err(error) => reading.errors.push(error),
            }
        }
        reading.is_cut = self.mappings()?.is_cut;
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
        let regions = self.regions()?;
        let with_header = |region: Rc<File>| {
            let header = read::read_header(region.as_ref()).ok()?;
            self.owns(&header).then_some((region, header))
        };
        Ok(regions.into_iter().filter_map(with_header).collect())
    }

    /// Returns whether it has a registry of its own.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn has_registry(&self) -> Result<bool, TargetError> {
        let has_registry = !self.own_registries()?.is_empty();
        let model::Process { pid, name, .. } = self.label();
        match has_registry || !self.mappings()?.is_cut {
            true => Ok(has_registry),
            false => Err(TargetError::TooManyMappings { pid, name }),
        }
    }

    /// Returns what the process maps, as of the last look.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read or has ended.
    pub fn mappings(&self) -> Result<Arc<Mappings>, TargetError> {
        if let Some(mappings) = &*self.mappings.borrow() {
            return Ok(Arc::clone(mappings));
        }
        let mappings = Arc::new(Mappings::of(&self.process)?);
        *self.mappings.borrow_mut() = Some(Arc::clone(&mappings));
        Ok(mappings)
    }

    /// Forgets what the process maps: what it maps next is looked up again.
    pub fn forget_mappings(&self) {
        *self.mappings.borrow_mut() = None;
    }

    /// Opens the registries that the process maps. Reading all of its mappings is avoided as long as it maps the known
    /// registries.
    fn regions(&self) -> Result<Vec<Rc<File>>, TargetError> {
        let is_mapped = |mapped| region::is_mapped(&self.process, mapped);
        let mappings = self.mappings()?;
        let mappings = match mappings.registries.iter().all(is_mapped) {
            true => mappings,
            false => {
                self.forget_mappings();
                self.mappings()?
            }
        };
        region::open_regions(&self.process, &mappings.registries, &self.regions)
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
fn wait_for_header(region: &File) -> Result<HeaderRecord, ReadError> {
    let one_less = |reads: u32| reads.checked_sub(1);
    loop {
        let mut magic = [0; 8];
        if region.read_at(&mut magic, 0)? == 0
            || magic != [0; 8]
            || HEADER_READS
                .fetch_update(Relaxed, Relaxed, one_less)
                .is_err()
        {
            return read::read_header(region);
        }
        sleep(HEADER_PAUSE);
    }
}
