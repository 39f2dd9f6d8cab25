//! Who is at the other end of a link, as far as that is known.

use std::cell::OnceCell;

use foldhash::{HashMap, HashMapExt, HashSet};
use roam_trace_common::event::ConnectionState;

use super::facts::Peer;
use super::index::{Endpoint, SnapshotIndex};
use super::pairing::Pairs;
use crate::model::{Confidence, Connection, Snapshot};

/// Possible peers that a verdict names.
const NAMED_PEERS: usize = 3;
/// Possible peers that the row of a link has.
const SHOWN_PEERS: usize = 8;

/// Who is at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerIdentity {
    /// This link of a traced process.
    Link(Endpoint),
    /// One of that many links of traced processes.
    OneOfLinks(usize),
    /// A link of this traced process, one of that many.
    LinkOf {
        pid: u32,
        candidates: usize,
        is_likely: bool,
    },
    /// Likely this process, of which there are no rows.
    Process { pid: u32, held_by: Option<u32> },
    /// Likely something that cannot be read.
    Unseen(String),
    /// One of these, of which there are no rows.
    OneOf { peers: Vec<Peer>, more: usize },
    /// One of these, which are traced, but none of their links.
    NoneFits { peers: Vec<Peer>, more: usize },
    /// The process shares nothing with another that can be read.
    NotFound,
    /// What the process shares with others is not known.
    ConnectivityUnknown,
    /// Nobody looked at what the process shares with others: it is this process itself.
    NotSought,
}

/// The process at the other end of a link, where it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerProcess {
    pub(super) pid: u32,
    /// Another process that keeps that end open.
    pub(super) held_by: Option<u32>,
    /// `Medium` where only one end shows it.
    pub(super) confidence: Confidence,
}

impl PeerProcess {
    pub(super) fn is_likely(self) -> bool {
        self.confidence == Confidence::Medium
    }
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
    /// Who may be at the other end of a link of each process, where that is not traced; found at the first need.
    untraced: Vec<OnceCell<PeerIdentity>>,
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
            untraced: vec![OnceCell::new(); index.snapshots.len()],
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
        if let Peer::Process { pid, held_by: more } = peer {
            let held_by = peers.iter_mut().find_map(|known| match known {
                Peer::Process { pid: at, held_by } if *at == pid => Some(held_by),
                _ => None,
            });
            if let Some(held_by) = held_by {
                *held_by = held_by.or(more);
                return;
            }
        }
        peers.push(peer);
    }

    pub(super) fn identity(&self, link: Endpoint) -> PeerIdentity {
        if let Some(partner) = self.pairs.partner(link) {
            return PeerIdentity::Link(partner.link);
        }
        let candidates = self.pairs.candidates(link);
        match self.by_sockets(link) {
            Some(&Peer::Process { pid, .. }) if self.traced.contains(&pid) => {
                PeerIdentity::LinkOf {
                    pid,
                    candidates: candidates.len(),
                    is_likely: self.only_neighbour(link) != Some(pid),
                }
            }
            Some(&Peer::Process { pid, held_by }) => PeerIdentity::Process { pid, held_by },
            Some(Peer::Unseen(text)) => PeerIdentity::Unseen(text.clone()),
            None if candidates.is_empty() => {
                let untraced = &self.untraced[link.process as usize];
                let identity = untraced.get_or_init(|| self.untraced(link.process));
                identity.clone()
            }
            None => match self.only_neighbour(link) {
                Some(pid) => PeerIdentity::LinkOf {
                    pid,
                    candidates: candidates.len(),
                    is_likely: false,
                },
                None => PeerIdentity::OneOfLinks(candidates.len()),
            },
        }
    }

    /// What all the sockets that a link may use lead to, where that is one.
    fn by_sockets(&self, link: Endpoint) -> Option<&'a Peer> {
        let mut peers = (self.pairs.sockets(link).iter())
            .map(|socket| self.index.facts.socket_peers.get(&socket.inode))
            .map(|peers| match peers.map(Vec::as_slice) {
                Some([peer]) => Some(peer),
                _ => None,
            });
        let first = peers.next()??;
        peers.all(|peer| peer == Some(first)).then_some(first)
    }

    /// The pids of the processes that any of the sockets that a link may use leads to, [`SHOWN_PEERS`] at most.
    pub(super) fn by_any_socket(&self, link: Endpoint) -> Vec<u32> {
        let sockets = self.pairs.sockets(link).iter();
        let peers = sockets.filter_map(|socket| self.index.facts.socket_peers.get(&socket.inode));
        let mut pids = Vec::new();
        for peer in peers.flatten() {
            if let &Peer::Process { pid, .. } = peer
                && pids.len() < SHOWN_PEERS
                && !pids.contains(&pid)
            {
                pids.push(pid);
            }
        }
        pids
    }

    /// The traced process that is the only one that a link's process shares anything with.
    fn only_neighbour(&self, link: Endpoint) -> Option<u32> {
        let pid = self.index.pid(link.process);
        match self.neighbours.get(&pid)?.as_slice() {
            &[Peer::Process { pid: other, .. }] if self.index.is_connectivity_known(pid) => {
                self.traced.contains(&other).then_some(other)
            }
            _ => None,
        }
    }

    /// Whether everything that a link's process shares something with is traced, so that the other end is a link of those.
    fn are_all_traced(&self, link: Endpoint) -> bool {
        let pid = self.index.pid(link.process);
        let is_traced =
            |peer: &Peer| matches!(peer, Peer::Process { pid, .. } if self.traced.contains(pid));
        self.index.is_connectivity_known(pid)
            && self
                .neighbours
                .get(&pid)
                .is_some_and(|all| all.iter().all(is_traced))
    }

    fn untraced(&self, process: u32) -> PeerIdentity {
        let pid = self.index.pid(process);
        let is_traced =
            |peer: &&Peer| matches!(peer, Peer::Process { pid, .. } if self.traced.contains(pid));
        let (traced, unseen): (Vec<_>, Vec<_>) = self
            .neighbours
            .get(&pid)
            .into_iter()
            .flatten()
            .partition(is_traced);
        let is_other = |peer: &&Peer| !matches!(peer, Peer::Process { pid: at, .. } if *at == pid);
        let is_only_link = self.unpaired[process as usize] <= 1;
        let named = |all: &[&Peer]| {
            let peers: Vec<Peer> = all.iter().take(NAMED_PEERS).copied().cloned().collect();
            let more = all.len() - peers.len();
            (peers, more)
        };
        match unseen.as_slice() {
            [] if self.index.process_facts(pid).is_none() => PeerIdentity::NotSought,
            [] if !self.index.is_connectivity_known(pid) => PeerIdentity::ConnectivityUnknown,
            // A process is connected to itself by the pipe of its signal handlers, for example.
            [] if !traced.iter().any(is_other) => PeerIdentity::NotFound,
            [] => {
                let (peers, more) = named(&traced);
                PeerIdentity::NoneFits { peers, more }
            }
            &[&Peer::Process { pid, held_by }] if is_only_link => {
                PeerIdentity::Process { pid, held_by }
            }
            [Peer::Unseen(text)] if is_only_link => PeerIdentity::Unseen(text.clone()),
            all => {
                let (peers, more) = named(all);
                PeerIdentity::OneOf { peers, more }
            }
        }
    }

    /// The process at the other end of a link.
    pub(super) fn process(&self, link: Endpoint) -> Option<PeerProcess> {
        let of = |pid, held_by, confidence| PeerProcess {
            pid,
            held_by,
            confidence,
        };
        if let Some((process, confidence)) = self.traced_process(link) {
            let pid = self.index.pid(process);
            let confidence = match self.only_neighbour(link) {
                Some(only) if only == pid => confidence.max(Confidence::High),
                _ => confidence,
            };
            return Some(of(pid, None, confidence));
        }
        match self.identity(link) {
            PeerIdentity::LinkOf { pid, is_likely, .. } => {
                let confidence = match is_likely {
                    true => Confidence::Medium,
                    false => Confidence::High,
                };
                Some(of(pid, None, confidence))
            }
            PeerIdentity::Process { pid, held_by } => Some(of(pid, held_by, Confidence::Medium)),
            _ => None,
        }
    }

    /// The traced process at the other end of a link. It may be known where the connection is not.
    pub(super) fn traced_process(&self, link: Endpoint) -> Option<(u32, Confidence)> {
        match (self.pairs.partner(link), self.pairs.candidates(link)) {
            (Some(partner), _) => Some((partner.link.process, partner.confidence)),
            (None, [first, rest @ ..]) => {
                let process = first.process;
                let is_one = rest.iter().all(|candidate| candidate.process == process);
                (is_one && self.are_all_traced(link)).then_some((process, Confidence::High))
            }
            (None, []) => None,
        }
    }

    /// The process at the other end of a link, where more than counters and times tell so.
    pub(super) fn shown_process(&self, link: Endpoint) -> Option<PeerProcess> {
        let is_by_counters =
            (self.pairs.partner(link)).is_some_and(|partner| !partner.shows_absence);
        let process = self.process(link)?;
        let is_shown = !is_by_counters || self.only_neighbour(link) == Some(process.pid);
        is_shown.then_some(process)
    }
}
