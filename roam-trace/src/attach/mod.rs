//! Attaching to the probes of live processes.
//!
//! Owns the kernel programs while they are attached, the order in which they
//! come and go, and the seeding of the maps with what began before. Nothing is
//! pinned: when the tracer ends, in whatever way, the kernel detaches everything.
//! Never writes to a target.

mod kernel_layout;
mod log_lines;
mod namespace;
mod seed;
mod uprobe_multi;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use aya::programs::{ProgramError, RawTracePoint};
use aya::{Ebpf, EbpfError, EbpfLoader};
use roam_trace_common::event::TargetValue;
use roam_trace_common::limits;
use thiserror::Error;

use crate::kernel::{self, MapAccessError, Maps};
use crate::target::elf::{self, ProbeSite};
use kernel_layout::KernelLayout;
use log_lines::LogLines;
use namespace::PidNamespace;
use seed::Seeds;
use uprobe_multi::{Links, PidFilter, Programs};

pub use kernel_layout::LayoutError;
pub use seed::{Rows, Seeded};
pub use uprobe_multi::{LinkError, LoadError};

/// The kernel programs, built by `cargo xtask build-ebpf`.
#[cfg(target_arch = "x86_64")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/roam-trace.x86_64.o");
#[cfg(not(target_arch = "x86_64"))]
compile_error!("there is no eBPF object for this architecture yet: see `cargo xtask build-ebpf`");

/// The probes in the order in which they are attached. What ends a row comes first and goes
/// last: otherwise what ends in between would stay in the maps for ever.
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

/// A process to trace.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its pid (that of the thread group), as `/proc` shows it to the tracer.
    pub tgid: u32,
    /// The files it runs from that have probes.
    pub binaries: Vec<Binary>,
}

/// A file with probes.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Where to open it: `/proc/PID/exe`, `/proc/PID/map_files/...` or `/proc/PID/root/...`.
    pub path: PathBuf,
    /// Its sites.
    pub sites: Vec<ProbeSite>,
}

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

/// Why nothing was attached.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The kernel has no uprobe_multi.
    #[error(
        "kernel {release} cannot attach many uprobes at once (uprobe_multi, Linux 6.6 with \
         CONFIG_UPROBES); read the process's registry instead: `--source registry`"
    )]
    Unsupported {
        /// As `uname -r` has it.
        release: String,
    },
    /// The tracer may not load kernel programs.
    #[error("no permission to load kernel programs: run as root, or with CAP_BPF and CAP_PERFMON")]
    Permission,
    /// The process is gone.
    #[error("process {tgid} has exited")]
    NoProcess {
        /// Its pid.
        tgid: u32,
    },
    /// The kernel tells a program the pid in the tracer's own namespace only.
    #[error(
        "process {tgid} is in another pid namespace than roam-trace, which is itself in a \
         container: run roam-trace in the same container or on the host"
    )]
    Namespace {
        /// Its pid.
        tgid: u32,
    },
    /// No target has a probe.
    #[error("there is no probe to attach to")]
    NoSites,
    /// A file of a target could not be opened or read.
    #[error("cannot read {}", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file changed since its sites were read.
    #[error("{} has no probe site at offset {file_offset:#x} any more", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where the site was.
        file_offset: u64,
    },
    /// The kernel's data structures are not described.
    #[error("cannot find out how the kernel lays out its processes")]
    Layout(#[from] LayoutError),
    /// The pid namespaces could not be compared.
    #[error("cannot read the pid namespace of process {tgid}")]
    ReadNamespace {
        /// The process.
        tgid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The maps could not be made.
    #[error("cannot load the kernel side")]
    Object(#[source] Box<EbpfError>),
    /// The programs that watch for exec and exit could not be attached.
    #[error("cannot watch for the end of processes ({program})")]
    Process {
        /// The program.
        program: &'static str,
        /// What aya or the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A probe's program could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A program could not be attached to a binary.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The maps could not be filled.
    #[error(transparent)]
    Maps(#[from] MapAccessError),
    /// The programs' log could not be opened.
    #[error("cannot read the log of the kernel side")]
    Log(#[source] aya_log::Error),
}

/// Probes that are attached, until it is dropped.
#[derive(Debug)]
pub struct Tracer {
    // Fields are dropped in this order: probes first, then the programs that watch for exec and
    // exit, and the maps with them.
    _links: Links,
    bpf: Ebpf,
    seeds: Seeds,
    log: Option<LogLines>,
}

impl Tracer {
    /// Attaches to every probe of the targets. From the moment it returns, every event is seen.
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
        let namespace = PidNamespace::of_tracer(targets)?;
        let mut bpf = load(targets, options, &namespace)?;
        register_targets(&mut bpf, targets)?;
        attach_process_programs(&mut bpf)?;

        let programs = Programs::load(OBJECT, &bpf, &ATTACH_ORDER)?;
        let filter = programs.pid_filter()?;
        let binaries = OpenBinary::open_all(targets, filter)?;
        let mut links = Links::default();
        for probe in ATTACH_ORDER {
            for binary in &binaries {
                let offsets = binary.offsets(probe);
                if !offsets.is_empty() {
                    links.attach(&programs, probe, &binary.file, &offsets, binary.pid)?;
                }
            }
        }
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

    /// The lines that the programs logged since the last call. Empty without [`Options::verbose`].
    pub fn log_lines(&mut self) -> Vec<String> {
        self.log.as_mut().map(LogLines::take).unwrap_or_default()
    }
}

/// Makes the maps, by aya, and loads what aya can load.
fn load(
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
    let connections = limits::CONNECTIONS.saturating_mul(targets.len() as u32);
    EbpfLoader::new()
        // The programs take no offsets from the kernel's types; parsing them takes 30 ms.
        .btf(None)
        .map_max_entries("REQUESTS", options.max_requests.max(1))
        .map_max_entries("CHANNELS", options.max_channels.max(1))
        .map_max_entries("CONNECTIONS", connections)
        .map_max_entries("TRAFFIC", connections)
        .map_max_entries("TARGETS", targets.len() as u32)
        .override_global(aya_log::LEVEL, &log_level, true)
        .override_global("PID_NAMESPACE_DEV", &namespace.device, true)
        .override_global("PID_NAMESPACE_INO", &namespace.inode, true)
        .override_global("TASK_SIGNAL_OFFSET", &layout.task_signal, true)
        .override_global("SIGNAL_LIVE_OFFSET", &layout.signal_live, true)
        .load(OBJECT)
        .map_err(|error| match is_permission(&error) {
            true => AttachError::Permission,
            false => AttachError::Object(Box::new(error)),
        })
}

/// Whether any cause of an error is a missing privilege.
fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io_error = error.downcast_ref::<io::Error>();
        if io_error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
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
            true => AttachError::Permission,
            false => AttachError::Process {
                program,
                source: Box::new(source),
            },
        })?;
    }
    Ok(())
}

/// A binary that stays open, so that what is attached to is what was looked at.
struct OpenBinary<'a> {
    file: File,
    sites: &'a [ProbeSite],
    /// The process whose probes trap, `None` for all that run the binary.
    pid: Option<u32>,
}

impl<'a> OpenBinary<'a> {
    /// Opens the binaries of all targets. Where the kernel cannot filter by process, one that
    /// several targets run is opened once.
    fn open_all(targets: &'a [Target], filter: PidFilter) -> Result<Vec<Self>, AttachError> {
        let mut binaries = Vec::new();
        let mut known = std::collections::HashSet::new();
        for target in targets {
            for binary in &target.binaries {
                let failed = |source| AttachError::Binary {
                    path: binary.path.clone(),
                    source,
                };
                let file = File::open(&binary.path).map_err(failed)?;
                for site in &binary.sites {
                    check_site(&file, binary, site)?;
                }
                let pid = match filter {
                    PidFilter::Kernel => Some(target.tgid),
                    PidFilter::Program => {
                        let metadata = file.metadata().map_err(failed)?;
                        use std::os::unix::fs::MetadataExt;
                        if !known.insert((metadata.dev(), metadata.ino())) {
                            continue;
                        }
                        None
                    }
                };
                binaries.push(Self {
                    file,
                    sites: &binary.sites,
                    pid,
                });
            }
        }
        Ok(binaries)
    }

    /// The places of one probe.
    fn offsets(&self, probe: &str) -> Vec<u64> {
        self.sites
            .iter()
            .filter(|site| site.name == probe)
            .map(|site| site.file_offset)
            .collect()
    }
}

/// Makes sure, on the very file that is attached to, that a site is one: a breakpoint in the middle
/// of another instruction would end the target.
fn check_site(file: &File, binary: &Binary, site: &ProbeSite) -> Result<(), AttachError> {
    let mut bytes = [0; elf::MAX_SITE_BYTES];
    let read = file.read_at(&mut bytes, site.file_offset);
    match read {
        Ok(count) if elf::is_site(&bytes[..count]) => Ok(()),
        Ok(_) => Err(AttachError::Changed {
            path: binary.path.clone(),
            file_offset: site.file_offset,
        }),
        Err(source) => Err(AttachError::Binary {
            path: binary.path.clone(),
            source,
        }),
    }
}
