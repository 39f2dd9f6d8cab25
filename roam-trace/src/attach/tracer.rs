//! The attached probes, and the maps that they fill.

use std::fmt;
use std::path::Path;

use aya::Ebpf;
use roam_trace_common::event::{BucketKey, MethodKey, RecordKey, TargetEnd, TrafficValue};

use super::binary::OpenBinary;
use super::error::AttachError;
use super::links::AttachedProbes;
use super::log_lines::LogLines;
use super::method::Method;
use super::namespace::PidNamespace;
use super::object::{self, Purpose};
use super::options::Options;
use super::order::{ATTACH_ORDER, probes_of};
use super::probed::ProbedProcess;
use super::rows::Rows;
use super::seed::{Seeded, Seeds};
use super::sizes::Sizes;
use super::{perf_event, uprobe_multi};
use crate::kernel::{self, Events, LiveCounts, MapAccessError, Maps, TableMut};
use crate::signals::SignalsBlocked;

/// The attached probes. Dropping it detaches them.
pub struct Tracer {
    // Fields are dropped in this order: probes first, then the programs that watch for exec and
    // exit, and the maps with them.
    // `None` once they are detached.
    probes: Option<AttachedProbes>,
    bpf: Ebpf,
    seeds: Seeds,
    log: Option<LogLines>,
}

impl fmt::Debug for Tracer {
    /// Without the programs, instruction by instruction, that aya would print.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tracer").finish_non_exhaustive()
    }
}

impl Tracer {
    /// Attaches to every probe of the targets. From its return on, every event is counted.
    ///
    /// Signals to this thread are blocked meanwhile. A signal that would end the process must have a handler:
    /// once the probes are attached it is delivered.
    ///
    /// # Errors
    ///
    /// [`AttachError`]; no probe remains attached.
    pub fn attach(targets: &[ProbedProcess], options: Options) -> Result<Self, AttachError> {
        if targets
            .iter()
            .flat_map(|target| &target.files)
            .all(|file| file.sites.is_empty())
        {
            return Err(AttachError::NoSites);
        }
        let object = object::bytes()?;
        let namespace = PidNamespace::of_tracer(targets)?;
        // Until probes are attached, or detached again where one of them cannot be.
        let _signals = SignalsBlocked::begin();
        let purpose = Purpose::Trace {
            verbose: options.verbose,
            live: options.live,
        };
        let sizes = Sizes::traced(targets.len(), &options);
        let mut bpf = object::load(object, purpose, &sizes, &namespace)?;
        object::register_targets(&mut bpf, targets)?;
        object::attach_process_programs(&mut bpf)?;
        // From here on their end is noticed.
        for ProbedProcess { tgid, .. } in targets {
            if !Path::new(&format!("/proc/{tgid}")).exists() {
                return Err(AttachError::NoProcess { tgid: *tgid });
            }
        }

        let method = Method::detect()?;
        let binaries = OpenBinary::open_all(targets, method.pid_filter())?;
        let names = probes_of(options.live.map(|live| live.mode));
        let probes = AttachedProbes::attach(method, object, &mut bpf, &binaries, targets, &names)?;
        let log = match options.verbose {
            true => Some(LogLines::open(&mut bpf).map_err(AttachError::Log)?),
            false => None,
        };
        Ok(Self {
            probes: Some(probes),
            bpf,
            seeds: Seeds::default(),
            log,
        })
    }

    /// Seeds the maps with the rows of the registries that they lack. Times must be those of the initial time
    /// namespace. [`Self::reconcile`] must follow.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if a map cannot be written; a full map is no error but part of the result.
    pub fn seed(&mut self, rows: &Rows) -> Result<Seeded, MapAccessError> {
        self.seeds.insert(&mut self.bpf, rows)
    }

    /// Ends seeding. `now` is what the registries have in flight, read again after [`Self::seed`]
    /// returned: a seeded row that is not in it has ended meanwhile and is removed; a row that reached
    /// another phase meanwhile gets that phase. A row that could not be read the second time must be in
    /// `now` as it was the first time, since it may still be in flight.
    ///
    /// From now on, an end without a row is counted as unmatched. Without a registry to seed from,
    /// call it with no rows.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if a map cannot be read or written.
    pub fn reconcile(&mut self, now: &Rows) -> Result<(), MapAccessError> {
        self.seeds.reconcile(&mut self.bpf, now)
    }

    /// Reads what is in flight now, as the probes reported it.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if a map cannot be read or written.
    pub fn snapshot(&self) -> Result<Maps, MapAccessError> {
        let traffic = kernel::read_traffic(&self.bpf)?;
        let mut maps = kernel::read(&self.bpf, traffic)?;
        self.seeds.complete(&mut maps);
        Ok(maps)
    }

    /// Reads how many requests started and ended since the probes were attached, by connection.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if a map cannot be read or written.
    pub fn traffic(&self) -> Result<Vec<(RecordKey, TrafficValue)>, MapAccessError> {
        kernel::read_traffic(&self.bpf)
    }

    /// Opens the ring buffer of the events that [`LiveOptions`](super::LiveOptions) asked for.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if it was opened before.
    pub fn open_events(&mut self) -> Result<Events, MapAccessError> {
        Events::open(&mut self.bpf)
    }

    /// Reads how much was lost of what [`LiveOptions`](super::LiveOptions) asked for.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if the map cannot be read.
    pub fn live_counts(&self) -> Result<LiveCounts, MapAccessError> {
        kernel::read_live_counts(&self.bpf)
    }

    /// Reads the buckets that have calls in them, with their numbers.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if the map cannot be read.
    pub fn histograms(&self) -> Result<Vec<(BucketKey, u64)>, MapAccessError> {
        kernel::read_histograms(&self.bpf)
    }

    /// Has the programs report a method, or leave it out. Without room for that, they report it.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if the map cannot be written.
    pub fn filter_method(&mut self, method: MethodKey, passes: bool) -> Result<(), MapAccessError> {
        TableMut::open(&mut self.bpf, "FILTER")?.insert_new(method, u32::from(passes))?;
        Ok(())
    }

    /// Reads which of the targets exited, or executed another program.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if the map cannot be read.
    pub fn ended_targets(&self) -> Result<Vec<(u32, TargetEnd)>, MapAccessError> {
        let targets = kernel::read_targets(&self.bpf)?.into_iter();
        Ok(targets
            .filter(|(_, target)| target.ended_ns != 0)
            .filter_map(|(tgid, target)| Some((tgid, TargetEnd::from_code(target.end)?)))
            .collect())
    }

    /// Detaches the probes. What they reported remains.
    pub fn detach(&mut self) {
        self.probes = None;
    }

    /// Returns the lines that the programs logged since the last call. Empty without [`Options::verbose`].
    pub fn log_lines(&mut self) -> Vec<String> {
        self.log.as_mut().map(LogLines::take).unwrap_or_default()
    }
}

/// Loads the programs without attaching them: whether that works is what a kernel and a user must
/// allow. Returns how they would be attached.
///
/// # Errors
///
/// [`AttachError`], as [`Tracer::attach`].
pub fn check_kernel() -> Result<Method, AttachError> {
    let options = Options {
        max_requests: 1,
        max_channels: 1,
        ..Options::default()
    };
    let object = object::bytes()?;
    let purpose = Purpose::Trace {
        verbose: false,
        live: None,
    };
    let sizes = Sizes::traced(0, &options);
    let mut bpf = object::load(object, purpose, &sizes, &PidNamespace::of_tracer(&[])?)?;
    let method = Method::detect()?;
    match method {
        Method::UprobeMulti(_) => {
            uprobe_multi::Programs::load(object, &bpf, &ATTACH_ORDER)?;
        }
        Method::PerfEvent => {
            perf_event::load(&mut bpf, &ATTACH_ORDER)?;
            perf_event::check_permission(&mut bpf, ATTACH_ORDER[0])?;
        }
    }
    Ok(method)
}
