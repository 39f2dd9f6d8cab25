//! What the rules share: the rows, both ends of everything, and what was found so far.

use std::cell::RefCell;
use std::mem::Discriminant;
use std::sync::Arc;

use foldhash::HashMap;

use super::call::Calls;
use super::driver::{DriverStall, Drivers};
use super::finding::{Cause, CauseId, Finding};
use super::health::Health;
use super::index::{Endpoint, SnapshotIndex};
use super::peer::{PeerProcess, Peers};
use super::reason::{Heard, HeldUp, Queue, Reason};
use super::stalled_requests::StalledRequests;
use super::standing::Standings;
use crate::model::{Evidence, ProcessState};

/// The rows with their pairs, and what follows from them for every link.
pub(super) struct Analysis<'a> {
    pub(super) index: &'a SnapshotIndex<'a>,
    pub(super) calls: &'a Calls,
    pub(super) standings: &'a Standings,
    pub(super) health: Health,
    pub(super) peers: Peers<'a>,
    pub(super) in_rings: StalledRequests,
    drivers: Drivers<'a>,
    /// What is known of each link, once it was asked for.
    links: RefCell<HashMap<Endpoint, LinkState>>,
    /// The evidence of each stalled driver, once it was asked for.
    stalls: RefCell<HashMap<Endpoint, Arc<[Evidence]>>>,
    causes: RefCell<Vec<Cause>>,
    /// Causes that every row of a link shares: there may be a hundred thousand behind one driver.
    shared: RefCell<HashMap<(Endpoint, SharedCause), CauseId>>,
}

/// What rules ask of a link for every one of its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkState {
    pub(super) stall: Option<DriverStall>,
    pub(super) peer: Option<PeerProcess>,
    pub(super) peer_state: ProcessState,
}

/// Causes that a link's rows share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SharedCause {
    NotSent(Queue),
    RuntimeBlocked(u32),
    Usual,
    DriverStalled(HeldUp),
    Unanswered(Discriminant<Heard>),
    PeerNotAlive,
    Running,
}

impl<'a> Analysis<'a> {
    pub(super) fn new(
        index: &'a SnapshotIndex<'a>,
        calls: &'a Calls,
        standings: &'a Standings,
    ) -> Self {
        let drivers = Drivers::new(index, calls.pairs());
        Self {
            index,
            calls,
            standings,
            health: Health::new(index, &drivers),
            peers: Peers::new(index, calls.pairs()),
            in_rings: StalledRequests::new(&index.facts.hubs, index.snapshots),
            drivers,
            links: RefCell::default(),
            stalls: RefCell::default(),
            // Memory that is not touched costs nothing, and to move what there is would cost it twice.
            causes: RefCell::new(Vec::with_capacity(index.requests().count())),
            shared: RefCell::default(),
        }
    }

    /// What is known of a link. Kept for links with rows, which have many requests: others can be as many as requests.
    pub(super) fn link_state(&self, link: Endpoint) -> LinkState {
        let find = || {
            let peer = self.peers.process(link);
            LinkState {
                stall: self.drivers.stall(link),
                peer,
                peer_state: peer.map_or(ProcessState::Alive, |peer| self.index.state(peer.pid)),
            }
        };
        match self.index.connection(link) {
            Some(_) => *self.links.borrow_mut().entry(link).or_insert_with(find),
            None => find(),
        }
    }

    /// The evidence that a driver is stalled.
    pub(super) fn stall_evidence(&self, link: Endpoint, stall: DriverStall) -> Arc<[Evidence]> {
        let mut stalls = self.stalls.borrow_mut();
        let evidence = stalls
            .entry(link)
            .or_insert_with(|| self.drivers.evidence(link, stall).into());
        evidence.clone()
    }

    /// A finding of one row.
    pub(super) fn found(
        &self,
        reason: Reason,
        evidence: impl IntoIterator<Item = Evidence>,
    ) -> Finding {
        self.found_with(reason, evidence.into_iter().collect())
    }

    /// A finding of one row, with evidence that other rows may have too.
    pub(super) fn found_with(&self, reason: Reason, evidence: Arc<[Evidence]>) -> Finding {
        let mut causes = self.causes.borrow_mut();
        let code = reason.code();
        causes.push(Cause {
            code,
            reason,
            evidence,
        });
        let cause = CauseId(causes.len() as u32 - 1);
        Finding::new(code, cause)
    }

    /// A finding whose cause the rows of a link share, made at the first need.
    pub(super) fn found_for_link(
        &self,
        link: Endpoint,
        which: SharedCause,
        cause: impl FnOnce() -> (Reason, Arc<[Evidence]>),
    ) -> Finding {
        if let Some(&cause) = self.shared.borrow().get(&(link, which)) {
            let code = self.causes.borrow()[cause.0 as usize].code;
            return Finding::new(code, cause);
        }
        let (reason, evidence) = cause();
        let finding = self.found_with(reason, evidence);
        let mut shared = self.shared.borrow_mut();
        shared.insert((link, which), finding.cause);
        finding
    }

    /// Whether a process of which there is a snapshot can do anything.
    pub(super) fn state(&self, process: u32) -> ProcessState {
        self.index.state(self.index.pid(process))
    }

    /// Everything that was found.
    pub(super) fn into_causes(self) -> Vec<Cause> {
        self.causes.into_inner()
    }
}
