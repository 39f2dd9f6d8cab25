//! What is attached in every process of an executable, and is to outlive the tracer.
//!
//! Owns the programs, maps and links until they are pinned; never pins anything. It closes no link that is attached
//! to probes: while a fatal signal is pending, the kernel would leave the breakpoints in the processes for good.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::Map;

use super::binary::OpenBinary;
use super::error::{AttachError, is_permission};
use super::method::{Method, PidFilter};
use super::namespace::PidNamespace;
use super::object::{self, Purpose};
use super::options::ArmedOptions;
use super::order::ATTACH_ORDER;
use super::probed::ProbedFile;
use super::relocated::Relocated;
use super::sizes::Sizes;
use super::uprobe_multi;
use crate::bpf::{self, Kind};

/// The programs that take out the rows of a process at its end, and where they are attached.
const PROCESS_PROGRAMS: [(&str, &CStr); 2] = [
    ("armed_exec", c"sched_process_exec"),
    ("armed_exit", c"sched_process_exit"),
];

/// The programs and maps of an armed set that is being made.
pub(crate) struct ArmedPrograms {
    bpf: Ebpf,
    /// By name: those of the probes, and those that notice the end of a process.
    pub(crate) programs: Vec<(&'static str, OwnedFd)>,
    /// By the name of their program: what notices the end of a process.
    pub(crate) links: Vec<(&'static str, OwnedFd)>,
}

impl ArmedPrograms {
    /// Makes the maps, loads the programs, and attaches those that notice the end of a process. From then on,
    /// probes can be attached.
    pub(crate) fn load(options: &ArmedOptions) -> Result<Self, AttachError> {
        if Method::detect()? == Method::PerfEvent {
            return Err(AttachError::CannotArm);
        }
        let object = object::bytes()?;
        let namespace = PidNamespace::of_tracer(&[])?;
        let bpf = object::load(object, Purpose::Arm, &Sizes::armed(options), &namespace)?;
        let object = Relocated::new(object, &bpf)?;
        let mut programs = Vec::new();
        for name in ATTACH_ORDER {
            programs.push((name, object.load(name, Kind::UprobeMulti)?));
        }
        let mut links = Vec::new();
        for (name, tracepoint) in PROCESS_PROGRAMS {
            let program = object.load(name, Kind::RawTracepoint)?;
            let link =
                bpf::attach_to_tracepoint(program.as_fd(), tracepoint).map_err(|source| {
                    match is_permission(&source) {
                        true => AttachError::may_not_load(),
                        false => AttachError::Tracepoint(source),
                    }
                })?;
            programs.push((name, program));
            links.push((name, link));
        }
        Ok(Self {
            bpf,
            programs,
            links,
        })
    }

    /// Returns a map.
    pub(crate) fn map(&self, name: &str) -> Option<BorrowedFd<'_>> {
        match self.bpf.map(name)? {
            Map::Array(map) | Map::HashMap(map) | Map::PerCpuArray(map) => Some(map.fd().as_fd()),
            _ => None,
        }
    }
}

/// The programs of the probes, in the order in which they are to be attached.
pub(crate) const PROBE_PROGRAMS: [&str; 8] = ATTACH_ORDER;

/// The programs of an armed set.
pub(crate) fn armed_programs() -> impl Iterator<Item = &'static str> {
    let processes = PROCESS_PROGRAMS.into_iter().map(|(name, _)| name);
    PROBE_PROGRAMS.into_iter().chain(processes)
}

/// A file whose probes are to be attached in every process. It stays open, so that what is attached to is what was
/// checked.
pub(crate) struct ArmedFile<'a>(OpenBinary<'a>);

impl<'a> ArmedFile<'a> {
    /// Opens a file and makes sure that its sites are there.
    pub(crate) fn open(file: &'a ProbedFile) -> Result<Self, AttachError> {
        OpenBinary::open(file, None).map(Self)
    }

    pub(crate) fn file(&self) -> &File {
        &self.0.file
    }

    /// Attaches the program of a probe to all its sites; `None` if the file has none.
    pub(crate) fn attach(
        &self,
        probe: &'static str,
        program: &OwnedFd,
    ) -> Result<Option<OwnedFd>, AttachError> {
        let offsets = self.0.offsets(probe);
        if offsets.is_empty() {
            return Ok(None);
        }
        uprobe_multi::attach(program, &self.0.file, &offsets, None)
            .map(Some)
            .map_err(|source| {
                let method = Method::UprobeMulti(PidFilter::Program);
                self.0.link_error(method, probe, source)
            })
    }
}
