//! A target with what it holds: descriptors, shared memory, memory of its own.

use std::collections::HashSet;

use roam_dump::analysis::ProcessFacts;
use roam_trace_common::registry::REGION_NAME;

use super::descriptors::{self, Descriptors};
use super::maps::{FileId, for_each_mapping};
use super::proc::Process;
use super::target::Target;
use super::transport::OwnMemory;
use crate::error::TargetError;

/// A target and what it holds.
pub(super) struct Inspected<'a> {
    pub(super) target: &'a Target,
    pub(super) descriptors: Descriptors,
    /// The files that it maps so that others see what it writes.
    pub(super) shared: HashSet<FileId>,
    pub(super) memory: OwnMemory,
    /// The name of its network namespace.
    pub(super) namespace: Vec<u8>,
    /// Whether all of that could be read.
    pub(super) is_known: bool,
}

impl<'a> Inspected<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        let process = &target.process;
        let descriptors = Descriptors::of(process);
        let mappings = mappings(process);
        let namespace = process.read_link("ns/net");
        let is_known = descriptors.is_ok() && mappings.is_ok() && namespace.is_ok();
        let (shared, memory) = mappings.unwrap_or_default();
        Self {
            target,
            descriptors: descriptors.unwrap_or_default(),
            shared,
            memory,
            namespace: namespace.unwrap_or_default(),
            is_known,
        }
    }

    pub(super) fn facts(&self) -> ProcessFacts {
        let process = &self.target.process;
        let count = self.descriptors.count;
        ProcessFacts {
            process: self.target.label(),
            state: process.state(),
            threads: process.thread_states(),
            is_connectivity_known: self.is_known,
            descriptors: (descriptors::limit(process).filter(|_| count > 0))
                .map(|limit| (count, limit)),
            untraced: None,
        }
    }
}

/// Lists the files that a process maps so that others see what it writes, and the memory that it alone writes. The
/// registry, which a forked child still maps, is none of those files.
fn mappings(process: &Process) -> Result<(HashSet<FileId>, OwnMemory), TargetError> {
    let registry = format!("/memfd:{REGION_NAME}").into_bytes();
    let mut files = HashSet::new();
    let mut memory = OwnMemory::default();
    for_each_mapping(process, |mapping| {
        if mapping.is_shared && mapping.file.inode != 0 && !mapping.path.starts_with(&registry) {
            files.insert(mapping.file);
        }
        if mapping.is_own_memory() {
            memory.add(mapping.start..mapping.end);
        }
    })?;
    Ok((files, memory))
}
