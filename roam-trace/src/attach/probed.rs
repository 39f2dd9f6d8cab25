//! What there is to attach to.

use std::path::PathBuf;

use crate::elf::ProbeSite;

/// A process to trace.
#[derive(Debug, Clone)]
pub struct ProbedProcess {
    /// Its pid (that of the thread group), as `/proc` shows it to the tracer.
    pub tgid: u32,
    /// The files it runs from that have probes.
    pub files: Vec<ProbedFile>,
}

/// A file with probes.
#[derive(Debug, Clone)]
pub struct ProbedFile {
    /// Where to open it: `/proc/PID/exe`, `/proc/PID/map_files/...` or `/proc/PID/root/...`.
    pub path: PathBuf,
    /// Its sites.
    pub sites: Vec<ProbeSite>,
}
