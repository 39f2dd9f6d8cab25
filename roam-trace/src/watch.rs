//! Attaches the probes of processes for a while.
//!
//! Owns the order of things: attach, seed from the registries, wait, read the
//! maps. Knows nothing of how rows are shown.

use std::collections::HashSet;
use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use roam_dump::read::Image;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use thiserror::Error;

use crate::attach::{AttachError, Options, ProbedFile, ProbedProcess, Rows, Tracer};
use crate::error::Exit;
use crate::kernel::{MapAccessError, Maps};
use crate::privilege::{self, Capability, Missing};
use crate::process::program::ProbedBinary;
use crate::process::{Share, retire_worker};

/// The time between two checks whether any target still runs.
const STEP: Duration = Duration::from_millis(50);

/// What the probes reported. They stay attached as long as this value lives.
#[derive(Debug)]
pub struct Watched {
    /// The kernel maps at the end.
    pub maps: Maps,
    /// When the maps were read.
    pub read_at: Instant,
    /// Length of the window.
    pub duration: Duration,
    /// Whether the maps were seeded with everything that started before.
    pub is_seeded: bool,
    /// Whether a process reports its requests by probes only. Those that started before are in no registry.
    pub has_probes_only: bool,
    tracer: Tracer,
}

impl Watched {
    /// Reads the kernel maps once more, as of now.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if the maps cannot be read.
    pub fn read_again(&self) -> Result<Maps, MapAccessError> {
        self.tracer.snapshot()
    }
}

/// Why the probes could not be attached or read.
#[derive(Debug, Error)]
pub enum WatchError {
    /// A capability is missing.
    #[error("no permission to attach to the probes: {0}")]
    Permission(Missing),
    /// Attaching failed.
    #[error("cannot attach to the probes")]
    Attach(#[source] AttachError),
    /// Capabilities could not be dropped.
    #[error("cannot drop capabilities")]
    Privileges(#[source] rustix::io::Errno),
    /// The handlers for SIGINT and SIGTERM could not be installed.
    #[error("cannot install the handlers for SIGINT and SIGTERM")]
    Signal(#[source] io::Error),
    /// The kernel maps could not be read or written.
    #[error(transparent)]
    Maps(#[from] MapAccessError),
}

impl WatchError {
    /// Returns the exit status for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Permission(_) | Self::Attach(AttachError::Permission { .. }) => {
                Exit::NoPermission
            }
            Self::Attach(_) | Self::Privileges(_) | Self::Signal(_) | Self::Maps(_) => {
                Exit::Failure
            }
        }
    }
}

impl From<AttachError> for WatchError {
    /// Finds out which capability is missing, where one is: attaching only knows what it needs. Root of a user
    /// namespace has all of them, for its own processes.
    fn from(error: AttachError) -> Self {
        let needed = [Capability::BPF, Capability::PERFMON];
        match privilege::missing_of_all(&needed) {
            _ if !matches!(error, AttachError::Permission { .. }) => Self::Attach(error),
            missing @ Missing::AllOf(_) => Self::Permission(missing),
            missing if privilege::has(Capability::SYS_ADMIN) => Self::Permission(missing),
            _ => Self::Attach(error),
        }
    }
}

/// Set by the first SIGINT or SIGTERM, which ends the watching early; the second ends the program.
fn on_interrupt() -> Result<Arc<AtomicBool>, WatchError> {
    on_signals(&[SIGINT, SIGTERM]).map_err(WatchError::Signal)
}

/// Set by the first of these signals; the second ends the program.
pub(crate) fn on_signals(signals: &[c_int]) -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for &signal in signals {
        flag::register_conditional_default(signal, Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// Probes that are attached as long as this value lives.
#[derive(Debug)]
pub struct Attached {
    tracer: Tracer,
    extent: Extent,
}

impl Attached {
    /// Attaches the probes of the targets, and drops the privileges that only attaching needs. A signal that would end the
    /// program must have a handler.
    ///
    /// # Errors
    ///
    /// [`WatchError`]; no probe remains attached.
    pub fn attach(shares: &[&Share<'_>], seed: bool, verbose: bool) -> Result<Self, WatchError> {
        let options = Options {
            verbose,
            ..Options::default()
        };
        let mut tracer = attach(shares, options)?;
        let extent = match seed {
            true => self::seed(&mut tracer, shares)?,
            false => Extent::default(),
        };
        Ok(Self { tracer, extent })
    }

    /// Reads the kernel maps as of now.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if the maps cannot be read.
    pub fn read(&self) -> Result<Maps, MapAccessError> {
        self.tracer.snapshot()
    }
}

/// Attaches the probes of the targets for `duration`, or until no target runs any more, or until SIGINT or SIGTERM.
///
/// # Errors
///
/// [`WatchError`]; no probe remains attached.
pub fn watch(
    shares: &[&Share<'_>],
    seed: bool,
    duration: Duration,
    verbose: bool,
) -> Result<Watched, WatchError> {
    // Before the first probe is attached: from then on a signal must end the watching, not the program.
    let interrupted = on_interrupt()?;
    let Attached { mut tracer, extent } = Attached::attach(shares, seed, verbose)?;
    // An end is counted for the connection of its row, and until now rows were missing.
    let before = tracer.traffic()?;
    let started = Instant::now();
    log::info!("counting requests");
    while let Some(left) = duration.checked_sub(started.elapsed())
        && !left.is_zero()
        && shares.iter().any(|share| share.target.process.is_alive())
        && !interrupted.load(Ordering::Relaxed)
    {
        std::thread::sleep(left.min(STEP));
        log_ebpf(&mut tracer);
    }
    let read_at = Instant::now();
    let mut maps = tracer.snapshot()?;
    maps.count_from(&before);
    let duration = started.elapsed();
    log_ebpf(&mut tracer);
    Ok(Watched {
        maps,
        read_at,
        duration,
        is_seeded: extent.is_everything,
        has_probes_only: extent.has_probes_only,
        tracer,
    })
}

/// Attaches the probes of the targets, and drops the privileges that it takes. A signal that is to end the program
/// orderly must have its handler by now.
///
/// # Errors
///
/// [`WatchError`]; no probe remains attached.
pub(crate) fn attach(shares: &[&Share<'_>], options: Options) -> Result<Tracer, WatchError> {
    let processes: Vec<_> = shares
        .iter()
        .filter_map(|Share { target, .. }| {
            let probed = target.probed().ok()?;
            Some(probed_process(target.pid(), probed))
        })
        .collect();
    log::info!("attaching the probes of {} processes", processes.len());
    let tracer = Tracer::attach(&processes, options)?;
    log::info!("attached");
    give_up_privileges(shares).map_err(WatchError::Privileges)?;
    Ok(tracer)
}

/// What the probes of a process are attached by.
fn probed_process(pid: u32, probed: &[ProbedBinary]) -> ProbedProcess {
    let files = probed.iter().map(|probed| ProbedFile {
        path: probed.binary.path(),
        sites: probed.sites.clone(),
    });
    ProbedProcess {
        tgid: pid,
        files: files.collect(),
    }
}

/// Opens what only a privilege opens, then keeps none that reading does not take.
fn give_up_privileges(shares: &[&Share<'_>]) -> rustix::io::Result<()> {
    for Share { target, budget } in shares {
        // Its registries, too. What fails now fails again, and is reported, where it is needed.
        if let Err(error) = target.read_connections(*budget) {
            log::info!("{error}");
        }
        if let Err(error) = target.socket_lister() {
            log::info!(
                "cannot list the sockets of process {}: {error}",
                target.pid()
            );
        }
    }
    privilege::drop_attach_privileges()?;
    retire_worker();
    Ok(())
}

/// Puts in what began before the probes were attached. Says how much of that this was.
pub(crate) fn seed(tracer: &mut Tracer, shares: &[&Share<'_>]) -> Result<Extent, WatchError> {
    let (before, first) = seeds(shares);
    let seeded = tracer.seed(&before)?;
    log::info!(
        "seeded {} rows; {} were present, {} lost (kernel map full)",
        seeded.inserted,
        seeded.present,
        seeded.full
    );
    let (mut after, second) = seeds(shares);
    if !second.torn.is_empty() {
        // A row that could not be read the second time may still be in flight.
        after.extend(before, |tgid| second.torn.contains(&tgid));
    }
    tracer.reconcile(&after)?;
    Ok(Extent {
        is_everything: first.is_everything && seeded.full == 0,
        ..first
    })
}

/// How much of what the targets have in flight was read.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// All that the registries of every target have room for.
    is_everything: bool,
    /// There is a target whose registries have no room for requests.
    has_probes_only: bool,
    /// The targets that have rows which could not be read.
    torn: HashSet<u32>,
}

/// What the registries of the targets hold, one after the other. Who cannot be read is not seeded; the dump
/// will say why.
fn seeds(shares: &[&Share<'_>]) -> (Rows, Extent) {
    let mut rows = Rows::default();
    let mut extent = Extent {
        is_everything: true,
        has_probes_only: false,
        torn: HashSet::new(),
    };
    for Share { target, budget } in shares {
        let images = match target.read(*budget) {
            Ok(reading) => reading.images,
            Err(error) => {
                log::info!("{error}");
                Vec::new()
            }
        };
        extent.is_everything &=
            !images.is_empty() && images.iter().all(|image| image.truncated.is_nothing());
        extent.has_probes_only |= images.iter().any(Image::is_probes_only);
        if images.iter().any(|image| image.torn > 0) {
            extent.torn.insert(target.pid());
        }
        let seeds = Rows::of_registries(target.pid(), &images, &target.clock);
        rows.extend(seeds, |_| true);
    }
    (rows, extent)
}

pub(crate) fn log_ebpf(tracer: &mut Tracer) {
    for line in tracer.log_lines() {
        log::info!("eBPF: {line}");
    }
}
