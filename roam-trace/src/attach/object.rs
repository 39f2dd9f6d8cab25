//! The kernel programs as they are built in, and loading what of them is not for probes.

use std::io;

use aya::programs::{ProgramError, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use roam_trace_common::event::{Direction, TargetValue};

use super::error::{AttachError, is_permission};
use super::kernel_layout::KernelLayout;
use super::namespace::PidNamespace;
use super::options::LiveOptions;
use super::probed::ProbedProcess;
use super::sizes::Sizes;
use crate::kernel::TableMut;

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

/// Returns the object for this machine.
pub(super) fn bytes() -> Result<&'static [u8], AttachError> {
    OBJECT.ok_or(AttachError::Architecture)
}

/// What the programs are for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Some processes.
    Trace {
        /// Whether the programs write log lines.
        verbose: bool,
        /// What they report while they run.
        live: Option<LiveOptions>,
    },
    /// Every process of some executables.
    Arm,
}

/// Makes the maps, by aya, and loads what aya can load.
pub(super) fn load(
    object: &[u8],
    purpose: Purpose,
    sizes: &Sizes,
    namespace: &PidNamespace,
) -> Result<Ebpf, AttachError> {
    const LOG_NOTHING: u8 = 0;
    let layout = KernelLayout::read()?;
    let (log_level, live) = match purpose {
        Purpose::Trace {
            verbose: true,
            live,
        } => (aya_log::Level::Info as u8, live),
        Purpose::Trace { live, .. } => (LOG_NOTHING, live),
        Purpose::Arm => (LOG_NOTHING, None),
    };
    let is_armed = u32::from(matches!(purpose, Purpose::Arm));
    let live = LiveGlobals::of(live.as_ref());
    let mut loader = EbpfLoader::new();
    for (map, entries) in [
        ("REQUESTS", sizes.requests),
        ("CHANNELS", sizes.channels),
        ("CONNECTIONS", sizes.connections),
        ("TRAFFIC", sizes.traffic),
        ("TARGETS", sizes.targets),
        ("EXECUTABLES", sizes.executables),
        ("EVENTS", sizes.events),
        ("FILTER", sizes.filter),
        ("HISTOGRAMS", sizes.histograms),
    ] {
        // A map without room cannot be made.
        loader.map_max_entries(map, entries.max(1));
    }
    loader
        .override_global("ARMED", &is_armed, true)
        .override_global("LIVE", &live.mode, true)
        .override_global("MIN_LATENCY_NS", &live.min_latency_ns, true)
        .override_global("OUTCOMES", &live.outcomes, true)
        .override_global("DIRECTION", &live.direction, true)
        .override_global("FILTERS_METHODS", &live.filters_methods, true)
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

/// What is reported live, as the programs read it.
struct LiveGlobals {
    mode: u32,
    min_latency_ns: u64,
    outcomes: u32,
    direction: u32,
    filters_methods: u32,
}

impl LiveGlobals {
    fn of(live: Option<&LiveOptions>) -> Self {
        Self {
            mode: live.map_or(0, |live| live.mode.code()),
            min_latency_ns: live.map_or(0, |live| live.min_latency_ns),
            outcomes: live.map_or(0, |live| live.outcomes.bits()),
            direction: live
                .and_then(|live| live.direction)
                .map_or(0, Direction::code),
            filters_methods: live.is_some_and(|live| live.filters_methods).into(),
        }
    }
}

/// Lists the processes that are traced in the programs' map.
pub(super) fn register_targets(
    bpf: &mut Ebpf,
    targets: &[ProbedProcess],
) -> Result<(), AttachError> {
    let mut map = TableMut::<u32, TargetValue>::open(bpf, "TARGETS")?;
    for target in targets {
        map.insert_new(target.tgid, TargetValue::default())?;
    }
    Ok(())
}

/// Attaches the programs that notice the end of a process. Before the probes, so that no target
/// ends unseen.
pub(super) fn attach_process_programs(bpf: &mut Ebpf) -> Result<(), AttachError> {
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
