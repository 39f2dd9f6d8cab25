//! Who is at the other end of a link, as far as that is known.

use foldhash::{HashMap, HashMapExt, HashSet};
use roam_trace_common::event::ConnectionState;

use super::facts::Peer;
use super::index::{Endpoint, SnapshotIndex};
use super::pairing::Pairs;
use crate::model::{Connection, Snapshot};

/// Possible peers that a verdict names.
const NAMED_PEERS: usize = 3;

/// Who is at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerIdentity {
    /// This link of a traced process.
    Link(Endpoint),
    /// One of that many links of traced processes.
    OneOfLinks(usize),
    /// This process, of which there are no rows.
    Process { pid: u32, held_by: Option<u32> },
    /// Something that cannot be read.
    Unseen(String),
    /// One of these, of which there are no rows.
    OneOf { peers: Vec<Peer>, more: usize },
    /// The process shares nothing with another that can be read.
    NotFound,
    /// What the process shares with others is not known.
    ConnectivityUnknown,
}

/// The peers of all links.
pub(super) struct Peers<'a> {
    index: &'a SnapshotIndex<'a>,
    pairs: &'a Pairs,
    /// How many open links of each process have no partner.
    unpaired: Vec<usize>,
    /// What is at the other ends of each process's sockets, each once.
    neighbours: HashMap<u32, Vec<Peer>>,
    traced: HashSet<u32>,
}

impl<'a> Peers<'a> {
    pub(super) fn new(index: &'a SnapshotIndex<'a>, pairs: &'a Pairs) -> Self {
        let unpaired_of = |(process, snapshot): (u32, &Snapshot)| {
            let is_unpaired = |row: &&Connection| {
                let (serial, is_open) = (row.serial, row.state == ConnectionState::Open);
                let link = Endpoint { process, serial };
                row.link == serial && is_open && pairs.partner(link).is_none()
            };
            snapshot.connections.iter().filter(is_unpaired).count()
        };
        let mut peers = Self {
            index,
            pairs,
            unpaired: (0..).zip(index.snapshots).map(unpaired_of).collect(),
            neighbours: HashMap::new(),
            traced: index
                .snapshots
                .iter()
                .map(|snapshot| snapshot.process.pid)
                .collect(),
        };
        for neighbour in &index.facts.neighbours {
            peers.add_neighbour(neighbour.pid, neighbour.peer.clone());
            if let Peer::Process { pid, .. } = neighbour.peer {
                let back = Peer::Process {
                    pid: neighbour.pid,
                    held_by: None,
                };
                peers.add_neighbour(pid, back);
            }
        }
        peers
    }

    fn add_neighbour(&mut self, pid: u32, peer: Peer) {
        let peers = self.neighbours.entry(pid).or_default();
        let known = peers.iter_mut().find(|known| match (&**known, &peer) {
            (Peer::Process { pid: a, .. }, Peer::Process { pid: b, .. }) => a == b,
            (known, peer) => known == peer,
        });
        match (known, peer) {
            (Some(Peer::Process { held_by, .. }), Peer::Process { held_by: more, .. }) => {
                *held_by = held_by.or(more);
            }
            (Some(_), _) => {}
            (None, peer) => peers.push(peer),
        }
    }

    pub(super) fn identity(&self, link: Endpoint) -> PeerIdentity {
        if let Some(partner) = self.pairs.partner(link) {
            return PeerIdentity::Link(partner.link);
        }
        match self.pairs.candidates(link) {
            [] => self.untraced(link),
            candidates => PeerIdentity::OneOfLinks(candidates.len()),
        }
    }

    fn untraced(&self, link: Endpoint) -> PeerIdentity {
        let pid = self.index.pid(link.process);
        let is_traced = |pid| self.traced.contains(pid);
        let unseen: Vec<_> = self
            .neighbours
            .get(&pid)
            .into_iter()
            .flatten()
            .filter(|peer| !matches!(peer, Peer::Process { pid, .. } if is_traced(pid)))
            .collect();
        let is_only_link = self.unpaired[link.process as usize] <= 1;
        match unseen.as_slice() {
            [] if self.index.is_connectivity_known(pid) => PeerIdentity::NotFound,
            [] => PeerIdentity::ConnectivityUnknown,
            &[&Peer::Process { pid, held_by }] if is_only_link => {
                PeerIdentity::Process { pid, held_by }
            }
            [Peer::Unseen(text)] if is_only_link => PeerIdentity::Unseen(text.clone()),
            all => {
                let named = all.iter().take(NAMED_PEERS);
                let peers: Vec<_> = named.map(|&peer| peer.clone()).collect();
                PeerIdentity::OneOf {
                    more: all.len() - peers.len(),
                    peers,
                }
            }
        }
    }

    /// The pid at the other end of a link and who keeps that end open, where it is one process.
    pub(super) fn pid(&self, link: Endpoint) -> Option<(u32, Option<u32>)> {
        match self.identity(link) {
            PeerIdentity::Link(peer) => Some((self.index.pid(peer.process), None)),
            PeerIdentity::Process { pid, held_by } => Some((pid, held_by)),
            _ => None,
        }
    }
}
