//! Pairs links by the sockets that were found in the memory of their transports.
//!
//! A number in that memory may be a descriptor by chance. So nothing is believed
//! of one end alone: two links are a pair if a socket of one is connected to a
//! socket of the other, and if no other pair of links fits as well. A link uses
//! one socket, and a socket belongs to one link. A socket that only one end shows is
//! no more than likely, unless another fact at that end agrees.

use foldhash::{HashMap, HashMapExt, HashSet};

use super::counters::NOISE_MESSAGES;
use super::link::{Link, LinkIndex};
use crate::analysis::facts::{Peer, TransportSocket, Via};
use crate::analysis::index::SnapshotIndex;
use crate::model::{Confidence, SocketUnknown};

/// Pairs of links that two sockets may join; where more links have them in their memory, nothing is believed of it.
const MAX_FITS: usize = 1_024;

/// Fits that are looked at until some are taken, over all rounds. What a target makes of its memory does not hold up
/// the tracer.
const MAX_STEPS: usize = 4_000_000;

/// What encoding adds to the payload at the most: for a message, and for what comes before the first one.
const MESSAGE_BYTES: u64 = 256;
const START_BYTES: u64 = 4_096;

/// The pairs that are known by their sockets, and what the sockets tell of the other links.
pub(super) struct Sockets<'a> {
    index: &'a SnapshotIndex<'a>,
    /// By the index of the link: the sockets that it may use. One is left of those that are paired.
    of_link: Vec<Vec<&'a TransportSocket>>,
    pub(super) pairs: Vec<SocketPair>,
    is_paired: Vec<bool>,
}

/// Two links with the ends of one socket connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct SocketPair {
    pub(super) ends: [u32; 2],
    pub(super) via: Via,
}

/// Two links that are a pair if these are their sockets.
struct Fit<'a> {
    ends: [u32; 2],
    sockets: [&'a TransportSocket; 2],
}

impl<'a> Sockets<'a> {
    pub(super) fn new(index: &'a SnapshotIndex<'a>, links: &LinkIndex) -> Self {
        let of_link = links.all.iter().map(|link| plausible(index, link));
        let mut sockets = Self {
            index,
            of_link: of_link.collect(),
            pairs: Vec::new(),
            is_paired: vec![false; links.all.len()],
        };
        if !index.facts.transports.is_empty() {
            sockets.decide(links);
            sockets.drop_impossible(links);
        }
        sockets
    }

    pub(super) fn of_link(&self, link: u32) -> impl Iterator<Item = &'a TransportSocket> {
        self.of_link[link as usize].iter().copied()
    }

    /// How sure it is that the only socket of a link is its own.
    pub(super) fn confidence(&self, number: u32, link: &Link) -> Confidence {
        let is_shown_twice =
            |socket: &TransportSocket| socket.is_in_place || has_carried_little_more(socket, link);
        if self.is_paired[number as usize] {
            Confidence::Known
        } else if self.of_link(number).all(is_shown_twice) {
            Confidence::High
        } else {
            Confidence::Medium
        }
    }

    /// Takes the fits that are the only one of an end, unless they contradict each other; then those that are the
    /// only one now that these are taken.
    fn decide(&mut self, links: &LinkIndex) {
        let mut open = self.fits(links);
        let mut steps_left = MAX_STEPS;
        while let Some(left) = steps_left.checked_sub(open.len()) {
            steps_left = left;
            let mut fits_of: HashMap<u32, u32> = HashMap::new();
            for end in open.iter().flat_map(|fit| fit.ends) {
                *fits_of.entry(end).or_default() += 1;
            }
            let is_only = |fit: &&Fit<'_>| fit.ends.iter().any(|end| fits_of[end] == 1);
            let mut demands: HashMap<Claim, u32> = HashMap::new();
            for claim in open.iter().filter(is_only).flat_map(Fit::claims) {
                *demands.entry(claim).or_default() += 1;
            }
            let is_taken = |fit: &&Fit<'_>| {
                is_only(fit) && fit.claims().iter().all(|claim| demands[claim] == 1)
            };
            let taken: Vec<_> = open.iter().filter(is_taken).collect();
            if taken.is_empty() {
                return;
            }
            let claimed: HashSet<Claim> = taken.iter().flat_map(|fit| fit.claims()).collect();
            for fit in taken {
                for (end, socket) in fit.ends.into_iter().zip(fit.sockets) {
                    self.of_link[end as usize] = vec![socket];
                    self.is_paired[end as usize] = true;
                }
                self.pairs.push(SocketPair {
                    ends: fit.ends,
                    via: fit.sockets[0].via,
                });
            }
            open.retain(|fit| fit.claims().iter().all(|claim| !claimed.contains(claim)));
        }
    }

    /// Every two links of which one may use a socket that is connected to one of the other, the smaller index first.
    fn fits(&self, links: &LinkIndex) -> Vec<Fit<'a>> {
        let mut by_inode: HashMap<u64, Vec<(u32, &'a TransportSocket)>> = HashMap::new();
        for (link, sockets) in (0..).zip(&self.of_link) {
            for &socket in sockets {
                by_inode
                    .entry(socket.inode)
                    .or_default()
                    .push((link, socket));
            }
        }
        let mut fits = Vec::new();
        for users in by_inode.values() {
            let peer = users[0].1.peer_inode;
            let Some(others) = peer.and_then(|peer| by_inode.get(&peer)) else {
                continue;
            };
            if users.len() * others.len() > MAX_FITS {
                continue;
            }
            for &(a, socket) in users {
                for &(b, other) in others {
                    if a < b && other.peer_inode == Some(socket.inode) && links.may_be_one(a, b) {
                        fits.push(Fit {
                            ends: [a, b],
                            sockets: [socket, other],
                        });
                    }
                }
            }
        }
        fits.sort_unstable_by_key(|fit| fit.ends);
        fits
    }

    /// Takes away from the other links what is known to be another's; and the sockets of which traced processes have
    /// the other end, but none of their links, unless it has no other.
    fn drop_impossible(&mut self, links: &LinkIndex) {
        let paired: HashSet<u64> = (self.of_link.iter().zip(&self.is_paired))
            .filter(|&(_, &is_paired)| is_paired)
            .flat_map(|(sockets, _)| sockets.iter().map(|socket| socket.inode))
            .collect();
        let claimed: HashSet<u64> = (self.of_link.iter().flatten())
            .map(|socket| socket.inode)
            .collect();
        let searched = searched_processes(self.index, links);
        let is_searched =
            |peer: &Peer| matches!(peer, Peer::Process { pid, .. } if searched.contains(pid));
        let is_nobodys = |socket: &TransportSocket| {
            let peers = self.index.facts.socket_peers.get(&socket.inode);
            peers.is_some_and(|peers| !peers.is_empty() && peers.iter().all(is_searched))
                && socket
                    .peer_inode
                    .is_none_or(|peer| !claimed.contains(&peer))
        };
        for (sockets, _) in
            (self.of_link.iter_mut().zip(&self.is_paired)).filter(|&(_, &is_paired)| !is_paired)
        {
            sockets.retain(|socket| !paired.contains(&socket.inode));
            if !sockets.iter().all(|socket| is_nobodys(socket)) {
                sockets.retain(|socket| !is_nobodys(socket));
            }
        }
    }

    /// Whether nothing that is known of their sockets keeps two links from being the ends of one.
    pub(super) fn may_be_one(&self, links: &LinkIndex, a: u32, b: u32) -> bool {
        if self.is_paired[a as usize] || self.is_paired[b as usize] {
            return false;
        }
        let [of_a, of_b] = [a, b].map(|link| &self.of_link[link as usize]);
        let pid = |link| self.index.pid(links.get(link).endpoint.process);
        match (of_a.is_empty(), of_b.is_empty()) {
            (true, true) => true,
            (false, false) => of_a.iter().any(|socket| {
                of_b.iter()
                    .any(|other| socket.peer_inode == Some(other.inode))
            }),
            (false, true) => self.may_lead_to(of_a, pid(b)),
            (true, false) => self.may_lead_to(of_b, pid(a)),
        }
    }

    fn may_lead_to(&self, sockets: &[&TransportSocket], pid: u32) -> bool {
        sockets.iter().any(|socket| {
            let peers = self.index.facts.socket_peers.get(&socket.inode);
            peers.is_none_or(|peers| {
                let is_there =
                    |peer: &Peer| matches!(peer, Peer::Process { pid: at, .. } if *at == pid);
                peers.iter().any(is_there)
            })
        })
    }
}

/// What a fit that is taken takes from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Claim {
    Link(u32),
    Socket(u64),
}

impl Fit<'_> {
    fn claims(&self) -> [Claim; 4] {
        let [a, b] = self.ends.map(Claim::Link);
        let [c, d] = self.sockets.map(|socket| Claim::Socket(socket.inode));
        [a, b, c, d]
    }
}

/// The sockets that may be a link's: those that carried what it counted.
fn plausible<'a>(index: &SnapshotIndex<'a>, link: &Link) -> Vec<&'a TransportSocket> {
    let key = (index.pid(link.endpoint.process), link.endpoint.serial);
    let found = index
        .facts
        .transports
        .get(&key)
        .map_or(&[][..], Vec::as_slice);
    if !link.is_open {
        return Vec::new();
    }
    let has_carried = |socket: &&TransportSocket| match (socket.carried_bytes, counted(link)) {
        (Some((sent, received)), Some([(_, counted_sent), (_, counted_received)])) => {
            sent >= counted_sent && received >= counted_received
        }
        _ => true,
    };
    found.iter().filter(has_carried).collect()
}

/// Messages and payload bytes that a link sent and received.
fn counted(link: &Link) -> Option<[(u64, u64); 2]> {
    let counters = link.counters?;
    Some([
        (counters.messages_sent, counters.bytes_sent),
        (counters.messages_received, counters.bytes_received),
    ])
}

/// Whether a socket that carried what its link counted has carried no more than what encoding adds to that. Another
/// socket would have carried about as much only by chance.
fn has_carried_little_more(socket: &TransportSocket, link: &Link) -> bool {
    let (Some((sent, received)), Some(counted)) = (socket.carried_bytes, counted(link)) else {
        return false;
    };
    let carried = [sent, received.saturating_sub(socket.unread_bytes)];
    let is_little_more = |(carried, (messages, bytes)): (u64, (u64, u64))| {
        let added = (messages.saturating_mul(MESSAGE_BYTES))
            .saturating_add(bytes / 8)
            .saturating_add(START_BYTES);
        carried <= bytes.saturating_add(added)
    };
    let [(messages_sent, _), (messages_received, _)] = counted;
    messages_sent.saturating_add(messages_received) >= NOISE_MESSAGES
        && carried.into_iter().zip(counted).all(is_little_more)
}

/// The pids of the traced processes all of whose links were searched for their sockets.
fn searched_processes(index: &SnapshotIndex<'_>, links: &LinkIndex) -> HashSet<u32> {
    let pid = |link: &Link| index.pid(link.endpoint.process);
    let is_overlooked = |link: &&Link| {
        let key = (pid(link), link.endpoint.serial);
        link.is_open
            && !index.facts.transports.contains_key(&key)
            && index.facts.unknown_sockets.get(&key) != Some(&SocketUnknown::NotFound)
    };
    let overlooked: HashSet<u32> = links.all.iter().filter(is_overlooked).map(pid).collect();
    let complete = (index.snapshots.iter())
        .filter(|snapshot| snapshot.gaps.is_empty())
        .map(|snapshot| snapshot.process.pid);
    complete.filter(|pid| !overlooked.contains(pid)).collect()
}
