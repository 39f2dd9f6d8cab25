//! Which connection of one process is which of another.
//!
//! Links whose transports use the two ends of one socket connection are a pair for
//! certain. The others, of which no socket was found, are paired by what both ends
//! saw: the requests, the messages and bytes in each direction, and when they were opened.
//! Candidates come from hash joins over those three and are few for every link;
//! a pair counts when each end prefers the other to all of its other candidates.
//! What stays undecided is ambiguous and never guessed.

mod candidate;
mod compare;
mod connectivity;
mod counters;
mod link;
mod requests;
mod search;
mod sockets;

use foldhash::HashMap;

use super::basis::{PairingBasis, PairingId};
use super::facts::TransportSocket;
use super::index::{Endpoint, SnapshotIndex};
use crate::model::{Confidence, SocketUnknown};
use candidate::Candidate;
use connectivity::Neighbours;
use link::LinkIndex;
use search::{Candidates, find_by_counters, find_by_opening, find_by_requests};
use sockets::{SocketPair, Sockets};

/// The other end of a link, and how it was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partner {
    pub(super) link: Endpoint,
    pub(super) confidence: Confidence,
    pub(super) basis: PairingId,
    /// Whether it counts that the other end lacks a row. Where it is the wrong end, it lacks them all.
    pub(super) shows_absence: bool,
}

/// The sockets that a link may use.
#[derive(Debug)]
struct LinkSockets {
    all: Vec<TransportSocket>,
    /// How sure it is that the only one is the link's, and no number by chance.
    confidence: Confidence,
}

/// The links that were paired, from both ends, and those that were not.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    partners: HashMap<Endpoint, Partner>,
    /// What each pair rests on.
    pub(super) bases: Vec<PairingBasis>,
    /// Links between which the observations do not decide.
    ambiguous: HashMap<Endpoint, Vec<Endpoint>>,
    /// The sockets that each link may use, where any were found.
    sockets: HashMap<Endpoint, LinkSockets>,
    /// Virtual connections by link and id.
    virtuals: HashMap<(Endpoint, u64), Endpoint>,
}

impl Pairs {
    /// The other end of a link.
    pub(super) fn partner(&self, link: Endpoint) -> Option<&Partner> {
        self.partners.get(&link)
    }

    /// The links that may be the other end of one that was not paired.
    pub(super) fn candidates(&self, link: Endpoint) -> &[Endpoint] {
        self.ambiguous.get(&link).map_or(&[], Vec::as_slice)
    }

    /// The connection of `link` with that id on the wire.
    pub(super) fn connection_of(&self, link: Endpoint, conn_id: u64) -> Option<Endpoint> {
        self.virtuals.get(&(link, conn_id)).copied()
    }

    /// The sockets that a link may use.
    pub(super) fn sockets(&self, link: Endpoint) -> &[TransportSocket] {
        self.sockets.get(&link).map_or(&[], |sockets| &sockets.all)
    }

    /// The socket of a link, where it is one: `Known` by both ends, `High` by two facts at this end, else `Medium`.
    pub(super) fn socket(&self, link: Endpoint) -> Option<(&TransportSocket, Confidence)> {
        let sockets = self.sockets.get(&link)?;
        match sockets.all.as_slice() {
            [socket] => Some((socket, sockets.confidence)),
            _ => None,
        }
    }

    fn join(
        &mut self,
        ends: [Endpoint; 2],
        confidence: Confidence,
        shows_absence: bool,
        basis: PairingBasis,
    ) {
        let id = PairingId(self.bases.len() as u32);
        self.bases.push(basis);
        for (own, link) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let partner = Partner {
                link,
                confidence,
                basis: id,
                shows_absence,
            };
            self.partners.insert(own, partner);
        }
    }
}

/// Pairs the links of all processes.
pub(super) fn pair(index: &SnapshotIndex<'_>) -> Pairs {
    let links = LinkIndex::new(index);
    let sockets = Sockets::new(index, &links);
    let neighbours = Neighbours::new(index);
    let mut candidates = Candidates::new(&links, &sockets);
    find_by_requests(index, &links, &neighbours, &mut candidates);
    find_by_counters(&links, &neighbours, &mut candidates);
    find_by_opening(&links, &neighbours, &mut candidates);
    let candidates = candidates.rate(index, &links, &neighbours);
    let mut pairs = decide(index, &candidates, &links);
    for &SocketPair { ends, via } in &sockets.pairs {
        let ends = ends.map(|end| links.get(end).endpoint);
        pairs.join(ends, Confidence::Known, true, PairingBasis::Sockets(via));
    }
    for (number, link) in (0..).zip(&links.all) {
        let all: Vec<_> = sockets.of_link(number).cloned().collect();
        if !all.is_empty() {
            let confidence = sockets.confidence(number, link);
            let of_link = LinkSockets { all, confidence };
            pairs.sockets.insert(link.endpoint, of_link);
        }
    }
    pairs.virtuals = links.virtuals;
    pairs
}

/// Whether the transport of a link is one that has a socket: what is then paired by counters and times alone is
/// likely, but what such a pair lacks is no evidence.
fn may_have_socket(index: &SnapshotIndex<'_>, link: Endpoint) -> bool {
    let key = (index.pid(link.process), link.serial);
    let unknown = index.facts.unknown_sockets.get(&key);
    index.facts.transports.contains_key(&key)
        || unknown.is_some_and(|&unknown| unknown != SocketUnknown::NotReported)
}

/// Pairs the links that prefer each other, then decides anew about those that lost a candidate by it.
fn decide(index: &SnapshotIndex<'_>, candidates: &[Candidate], links: &LinkIndex) -> Pairs {
    let mut of_link: Vec<Vec<u32>> = vec![Vec::new(); links.all.len()];
    for (index, candidate) in (0..).zip(candidates) {
        for end in candidate.ends {
            of_link[end as usize].push(index);
        }
    }
    let mut is_alive = vec![true; candidates.len()];
    let mut queue: Vec<u32> = (0..links.all.len() as u32).rev().collect();
    let mut pairs = Pairs::default();
    while let Some(link) = queue.pop() {
        let best =
            |link: u32, is_alive: &[bool]| best_of(&of_link[link as usize], candidates, is_alive);
        let Some(chosen) = best(link, &is_alive) else {
            continue;
        };
        let candidate = &candidates[chosen as usize];
        if best(candidate.other_end(link), &is_alive) != Some(chosen) {
            continue;
        }
        let had_rivals = candidate.ends.iter().any(|&end| {
            of_link[end as usize].iter().any(|&rival| {
                rival != chosen && candidate.compare(&candidates[rival as usize]) <= 0
            })
        });
        for end in candidate.ends {
            for &rival in &of_link[end as usize] {
                if std::mem::replace(&mut is_alive[rival as usize], false) && rival != chosen {
                    queue.push(candidates[rival as usize].other_end(end));
                }
            }
        }
        let ends = candidate.ends.map(|end| links.get(end).endpoint);
        let confidence = candidate.confidence(had_rivals);
        let shows_absence =
            confidence >= Confidence::High && !ends.iter().any(|&end| may_have_socket(index, end));
        pairs.join(ends, confidence, shows_absence, candidate.basis(had_rivals));
    }
    for (candidate, _) in candidates.iter().zip(is_alive).filter(|&(_, alive)| alive) {
        let ends = candidate.ends.map(|end| links.get(end).endpoint);
        for (own, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            pairs.ambiguous.entry(own).or_default().push(other);
        }
    }
    pairs
}

/// The candidate that is better than all others of a link.
fn best_of(of_link: &[u32], candidates: &[Candidate], is_alive: &[bool]) -> Option<u32> {
    let alive = || {
        of_link
            .iter()
            .copied()
            .filter(|&index| is_alive[index as usize])
    };
    let best = alive().reduce(|best, index| {
        if candidates[index as usize].compare(&candidates[best as usize]) > 0 {
            index
        } else {
            best
        }
    })?;
    alive()
        .all(|index| {
            index == best || candidates[best as usize].compare(&candidates[index as usize]) > 0
        })
        .then_some(best)
}
