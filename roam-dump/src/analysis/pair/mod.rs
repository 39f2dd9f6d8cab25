//! Which connection of one process is which of another.
//!
//! A row names neither descriptor nor peer, so links are paired by what both ends
//! saw: the requests, the messages and bytes each way, and when they were opened.
//! Candidates come from hash joins over those three and are few for every link;
//! a pair counts when each end prefers the other to all of its other candidates.
//! What stays undecided is ambiguous and never guessed.

mod ground;
mod join;
mod link;

use foldhash::HashMap;

use super::scene::{Endpoint, Scene};
use crate::model::{Basis, Confidence};
use ground::Candidate;
use join::{Candidates, find_by_counters, find_by_opening, find_by_requests};
use link::{Links, Neighbours};

/// The other end of a link, and how it was found.
#[derive(Debug, Clone)]
pub(super) struct Partner {
    pub(super) link: Endpoint,
    pub(super) confidence: Confidence,
    pub(super) basis: Basis,
}

/// The links that were paired, from both ends, and those that were not.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    partners: HashMap<Endpoint, Partner>,
    /// Links between which the grounds do not decide.
    ambiguous: HashMap<Endpoint, Vec<Endpoint>>,
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
}

/// Pairs the links of all processes.
pub(super) fn pair(scene: &Scene<'_>) -> Pairs {
    let links = Links::new(scene);
    let neighbours = Neighbours::new(scene);
    let mut candidates = Candidates::default();
    find_by_requests(scene, &links, &neighbours, &mut candidates);
    find_by_counters(&links, &neighbours, &mut candidates);
    find_by_opening(&links, &neighbours, &mut candidates);
    let mut pairs = decide(&candidates.judge(scene, &links, &neighbours), &links);
    pairs.virtuals = links.virtuals;
    pairs
}

/// Pairs the links that prefer each other, then looks again at those that lost a candidate by it.
fn decide(candidates: &[Candidate], links: &Links) -> Pairs {
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
        let Some(index) = best(link, &is_alive) else {
            continue;
        };
        let candidate = &candidates[index as usize];
        if best(candidate.other_end(link), &is_alive) != Some(index) {
            continue;
        }
        let had_rivals = candidate.ends.iter().any(|&end| {
            of_link[end as usize]
                .iter()
                .any(|&rival| rival != index && candidate.lead(&candidates[rival as usize]) <= 0)
        });
        for end in candidate.ends {
            for &rival in &of_link[end as usize] {
                if std::mem::replace(&mut is_alive[rival as usize], false) && rival != index {
                    queue.push(candidates[rival as usize].other_end(end));
                }
            }
        }
        let ends = candidate.ends.map(|end| links.get(end).endpoint);
        let basis = Basis::Found(candidate.ground(had_rivals).into());
        for (own, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            pairs.partners.insert(
                own,
                Partner {
                    link: other,
                    confidence: candidate.confidence(had_rivals),
                    basis: basis.clone(),
                },
            );
        }
    }
    for (candidate, _) in candidates.iter().zip(is_alive).filter(|&(_, alive)| alive) {
        let ends = candidate.ends.map(|end| links.get(end).endpoint);
        pairs.ambiguous.entry(ends[0]).or_default().push(ends[1]);
        pairs.ambiguous.entry(ends[1]).or_default().push(ends[0]);
    }
    pairs
}

/// The candidate that leads all others of a link.
fn best_of(of_link: &[u32], candidates: &[Candidate], is_alive: &[bool]) -> Option<u32> {
    let alive = || {
        of_link
            .iter()
            .copied()
            .filter(|&index| is_alive[index as usize])
    };
    let best = alive().reduce(|best, index| {
        if candidates[index as usize].lead(&candidates[best as usize]) > 0 {
            index
        } else {
            best
        }
    })?;
    alive()
        .all(|index| {
            index == best || candidates[best as usize].lead(&candidates[index as usize]) > 0
        })
        .then_some(best)
}
