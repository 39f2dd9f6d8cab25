//! Which processes share a socket or memory.

use foldhash::{HashMap, HashMapExt};

use crate::analysis::facts::{Peer, Via};
use crate::analysis::index::SnapshotIndex;

/// How two processes are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connectivity {
    Shared(Via),
    /// What at least one of them shares with others is not known.
    Unknown,
    /// They share nothing.
    None,
}

/// Which processes are connected, as far as that is known.
pub(super) struct Neighbours {
    via: HashMap<(u32, u32), Via>,
    is_known: Vec<bool>,
}

impl Neighbours {
    pub(super) fn new(index: &SnapshotIndex<'_>) -> Self {
        let mut by_pid: HashMap<u32, Vec<u32>> = HashMap::new();
        for (process, snapshot) in (0..).zip(index.snapshots) {
            by_pid
                .entry(snapshot.process.pid)
                .or_default()
                .push(process);
        }
        let processes = |pid| by_pid.get(&pid).map_or(&[][..], Vec::as_slice);
        let mut via = HashMap::new();
        for neighbour in &index.facts.neighbours {
            if let Peer::Process { pid, .. } = neighbour.peer {
                for &a in processes(neighbour.pid) {
                    for &b in processes(pid) {
                        via.insert((a, b), neighbour.via);
                        via.insert((b, a), neighbour.via);
                    }
                }
            }
        }
        let is_known = index
            .snapshots
            .iter()
            .map(|snapshot| index.is_connectivity_known(snapshot.process.pid))
            .collect();
        Self { via, is_known }
    }

    pub(super) fn connectivity(&self, a: u32, b: u32) -> Connectivity {
        match self.via.get(&(a, b)) {
            Some(&via) => Connectivity::Shared(via),
            None if self.is_known[a as usize] && self.is_known[b as usize] => Connectivity::None,
            None => Connectivity::Unknown,
        }
    }

    /// The processes that each one is known to share something with.
    pub(super) fn by_process(&self) -> HashMap<u32, Vec<u32>> {
        let mut neighbours: HashMap<u32, Vec<u32>> = HashMap::new();
        for &(a, b) in self.via.keys() {
            neighbours.entry(a).or_default().push(b);
        }
        neighbours
    }
}
