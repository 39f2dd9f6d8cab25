//! Attaching to the probes of live processes.
//!
//! Owns the kernel programs while they are attached, the order in which they
//! come and go, and the seeding of the maps with what began before. Nothing is
//! pinned: when the tracer ends, in whatever way, the kernel detaches everything.
//! Never writes to a target.

mod binary;
mod error;
mod kernel_layout;
mod links;
mod log_lines;
mod method;
mod namespace;
mod perf_event;
mod seed;
mod signals;
mod uprobe_multi;

use std::path::Path;
use std::{fmt, io};

use aya::programs::{ProgramError, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use roam_trace_common::event::{RecordKey, TargetValue, TrafficValue};
use roam_trace_common::limits;

use crate::kernel::{self, MapAccessError, Maps};
use binary::OpenBinary;
use error::is_permission;
use kernel_layout::KernelLayout;
use links::Links;
use log_lines::LogLines;
use namespace::PidNamespace;
use seed::Seeds;
use signals::SignalsBlocked;

pub use binary::{Binary, Target};
pub use error::AttachError;
pub use kernel_layout::LayoutError;
pub use method::{Method, PidFilter};
pub use seed::{Rows, Seeded};
pub use uprobe_multi::LoadError;

/// The kernel programs, built by `cargo xtask build-ebpf`.
#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(
    "../../ebpf/roam-trace.x86_64.o"
));
#[cfg(target_arch = "aarch64")]
const OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(
    "../../ebpf/roam-trace.aarch64.o"
));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OBJECT: Option<&[u8]> = None;

/// The probes in the order in which they are attached. What ends a row comes first: otherwise what
/// starts and ends in between would stay in the maps for ever.
const ATTACH_ORDER: [&str; 8] = [
    "request_end",
    "channel_close",
    "connection_close",
    "request_phase",
    "channel_data",
    "connection_open",
    "channel_open",
    "request_start",
];

/// How to trace.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Requests that the kernel side can hold, over all processes.
    pub max_requests: u32,
    /// Channels that it can hold.
    pub max_channels: u32,
    /// Whether the programs write log lines, see [`Tracer::log_lines`].
    pub verbose: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_requests: limits::REQUESTS,
            max_channels: limits::CHANNELS,
            verbose: false,
        }
    }
}

/// Probes that are attached, until it is dropped.
pub struct Tracer {
    // Fields are dropped in this order: probes first, then the programs that watch for exec and
    // exit, and the maps with them.
    _links: Links,
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
    /// Attaches to every probe of the targets. From the moment it returns, every event is seen.
    ///
    /// Signals to this thread are blocked meanwhile. A signal that would end the process must have a handler:
    /// once the probes are attached it is delivered.
    ///
    /// # Errors
    ///
    /// [`AttachError`]; nothing stays attached then.
    pub fn attach(targets: &[Target], options: Options) -> Result<Self, AttachError> {
        if targets
            .iter()
            .flat_map(|target| &target.binaries)
            .all(|binary| binary.sites.is_empty())
        {
            return Err(AttachError::NoSites);
        }
        let object = OBJECT.ok_or(AttachError::Architecture)?;
        let namespace = PidNamespace::of_tracer(targets)?;
        // Until probes are attached, or detached again where one of them cannot be.
        let _signals = SignalsBlocked::begin();
        let mut bpf = load(object, targets, options, &namespace)?;
        register_targets(&mut bpf, targets)?;
        attach_process_programs(&mut bpf)?;
        // From here on their end is noticed.
        for Target { tgid, .. } in targets {
            if !Path::new(&format!("/proc/{tgid}")).exists() {
                return Err(AttachError::NoProcess { tgid: *tgid });
            }
        }

        let method = Method::detect()?;
        let binaries = OpenBinary::open_all(targets, method.pid_filter())?;
        let links = Links::attach(method, object, &mut bpf, &binaries)?;
        let log = match options.verbose {
            true => Some(LogLines::open(&mut bpf).map_err(AttachError::Log)?),
            false => None,
        };
        Ok(Self {
            _links: links,
            bpf,
            seeds: Seeds::default(),
            log,
        })
    }

    /// Puts in what the targets' registries had in flight, as far as the maps lack it. Times must be
    /// those of the initial time namespace. [`Self::reconcile`] must follow.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] where the kernel refuses; a full map is no error but part of the result.
    pub fn seed(&mut self, rows: &Rows) -> Result<Seeded, MapAccessError> {
        self.seeds.insert(&mut self.bpf, rows)
    }

    /// Ends seeding. `now` is what the registries have in flight, read again after [`Self::seed`]
    /// returned: what was seeded and is not in it ended meanwhile and is taken out; what got further
    /// meanwhile is shown as far as it got. A row that could not be read the second time must be in
    /// `now` as it was the first time, since it may still be in flight.
    ///
    /// From now on an end without a row is counted as unmatched. Without a registry to seed from,
    /// call it with no rows to have that.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] where the kernel refuses.
    pub fn reconcile(&mut self, now: &Rows) -> Result<(), MapAccessError> {
        self.seeds.reconcile(&mut self.bpf, now)
    }

    /// What is in flight now, as the probes told it.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] where the kernel refuses.
    pub fn snapshot(&self) -> Result<Maps, MapAccessError> {
        let mut maps = kernel::read(&self.bpf)?;
        self.seeds.complete(&mut maps);
        Ok(maps)
    }

    /// Requests that started and ended since the probes were attached, by connection.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] where the kernel refuses.
    pub fn traffic(&self) -> Result<Vec<(RecordKey, TrafficValue)>, MapAccessError> {
        kernel::read_traffic(&self.bpf)
    }

    /// The lines that the programs logged since the last call. Empty without [`Options::verbose`].
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
        verbose: false,
    };
    let object = OBJECT.ok_or(AttachError::Architecture)?;
    let mut bpf = load(object, &[], options, &PidNamespace::of_tracer(&[])?)?;
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

/// Makes the maps, by aya, and loads what aya can load.
fn load(
    object: &[u8],
    targets: &[Target],
    options: Options,
    namespace: &PidNamespace,
) -> Result<Ebpf, AttachError> {
    const LOG_NOTHING: u8 = 0;
    let layout = KernelLayout::read()?;
    let log_level = match options.verbose {
        true => aya_log::Level::Info as u8,
        false => LOG_NOTHING,
    };
    // A map without room cannot be made.
    let targets_count = targets.len().max(1) as u32;
    let connections = limits::CONNECTIONS.saturating_mul(targets_count);
    EbpfLoader::new()
        .map_max_entries("REQUESTS", options.max_requests.max(1))
        .map_max_entries("CHANNELS", options.max_channels.max(1))
        .map_max_entries("CONNECTIONS", connections)
        .map_max_entries("TRAFFIC", connections)
        .map_max_entries("TARGETS", targets_count)
        .override_global(aya_log::LEVEL, &log_level, true)
        .override_global("PID_NAMESPACE_DEV", &namespace.device, true)
        .override_global("PID_NAMESPACE_INO", &namespace.inode, true)
        .override_global("TASK_SIGNAL_OFFSET", &layout.task_signal, true)
        .override_global("SIGNAL_LIVE_OFFSET", &layout.signal_live, true)
        .load(object)
        .map_err(|error| match is_permission(&error) {
            true => AttachError::may_not_load(),
            false => AttachError::Object(Box::new(error)),
        })
}

/// Tells the programs which processes are traced.
fn register_targets(bpf: &mut Ebpf, targets: &[Target]) -> Result<(), AttachError> {
    let mut map = kernel::TableMut::<u32, TargetValue>::open(bpf, "TARGETS")?;
    for target in targets {
        map.insert_new(target.tgid, TargetValue::default())?;
    }
    Ok(())
}

/// Attaches the programs that notice the end of a process. Before the probes, so that no target
/// ends unseen.
fn attach_process_programs(bpf: &mut Ebpf) -> Result<(), AttachError> {
    for (program, tracepoint) in [
        ("process_exec", "sched_process_exec"),
        ("process_exit", "sched_process_exit"),
    ] {
        let mut attach = || -> Result<(), ProgramError> {
            let loaded: &mut RawTracePoint = bpf
                .program_mut(program)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
                .try_into()?;
            loaded.load()?;
            loaded.attach(tracepoint)?;
            Ok(())
        };
        attach().map_err(|source| match is_permission(&source) {
            true => AttachError::may_not_load(),
            false => AttachError::Process {
                program,
                source: Box::new(source),
            },
        })?;
    }
    Ok(())
}
