//! A target with what it holds: descriptors, shared memory, memory of its own.

use std::sync::Arc;

use roam_dump::analysis::ProcessFacts;

use super::descriptors::{self, Descriptors};
use super::maps::Mappings;
use super::target::Target;

/// Descriptors of a target that are looked at.
const DESCRIPTORS: usize = 65_536;

/// A target and what it holds.
pub(super) struct Inspected<'a> {
    pub(super) target: &'a Target,
    pub(super) descriptors: Descriptors,
    pub(super) mappings: Arc<Mappings>,
    /// The name of its network namespace.
    pub(super) namespace: Vec<u8>,
    /// Whether all of that could be read.
    pub(super) is_known: bool,
    /// Whether there is more of it than was followed to other processes.
    pub(super) is_cut: bool,
}

impl<'a> Inspected<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        let process = &target.process;
        let descriptors = Descriptors::of(process, DESCRIPTORS);
        let mappings = target.mappings();
        let namespace = process.read_link("ns/net");
        let is_known = descriptors.is_ok() && mappings.is_ok() && namespace.is_ok();
        let descriptors = descriptors.unwrap_or_default();
        let mappings = mappings.unwrap_or_default();
        Self {
            target,
            is_cut: descriptors.is_cut || mappings.is_memory_cut,
            descriptors,
            mappings,
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
            is_connectivity_known: self.is_known && !self.is_cut,
            descriptors: (descriptors::limit(process).filter(|_| count > 0))
                .map(|limit| (count, limit)),
            untraced: None,
        }
    }
}
