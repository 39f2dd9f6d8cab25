//! What the rules share: who is at the other end, and what a driver is in.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet};
use roam_trace_common::event::{ConnectionState, Direction, Phase};

use super::call::Calls;
use super::facts::Peer;
use super::scene::{Endpoint, RowId, Scene, unread};
use crate::duration::Age;
use crate::model::ProcessState;
use crate::model::Request;
use crate::model::{Evidence, Relation};

/// The scene with its pairs, and what follows from them for every link.
pub(super) struct Court<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) calls: &'a Calls,
    /// Messages that the other end sent over a second ago and the link has not taken.
    not_received: HashMap<Endpoint, u64>,
    /// What is known of each link, once it was asked for.
    cases: RefCell<HashMap<Endpoint, Rc<LinkCase>>>,
    /// Words and evidence that every row of a link shares.
    shared: RefCell<HashMap<(Endpoint, Shared), Words>>,
    /// Requests of each link that wait for its driver, counted at the first need.
    behind: OnceCell<HashMap<Endpoint, u64>>,
    /// Links of each process without a partner.
    unpaired: Vec<u32>,
    /// What is at the other ends of each process's sockets, each once.
    neighbours: HashMap<u32, Vec<Peer>>,
    traced: HashSet<u32>,
}

/// Words and what they rest on. A hundred thousand rows behind one driver share them.
pub(super) type Words = (Arc<str>, Arc<[Evidence]>);

/// What words a link's rows share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shared {
    /// What its driver is in.
    Trouble,
    /// The same, of a request that is not sent.
    NotSent,
    /// The same, of a response that cannot arrive.
    NoResponse,
    /// The same, of a request that the other end has not taken.
    NotTaken,
    /// Nothing is known of the peer, and it was never heard.
    NeverHeard,
    /// Nothing is known of the peer, and it says nothing.
    Silent,
    /// Nothing is known of the peer, and it says other things.
    Talking,
    /// Nothing is known of the peer, nor whether the request was written.
    Unobserved,
    /// Several links may be the peer's.
    Ambiguous,
    /// The peer can do nothing.
    PeerGone,
    /// A handler runs and waits for no call that is known.
    HandlerRunning,
}

/// What the rules ask of a link for every one of its rows.
#[derive(Debug)]
pub(super) struct LinkCase {
    pub(super) trouble: Option<Trouble>,
    /// The process at the other end and who keeps that end open, where it is one process.
    pub(super) peer: Option<(u32, Option<u32>)>,
    pub(super) peer_life: ProcessState,
}

/// What keeps a driver from doing its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It waits for room in a channel's buffer.
    Delivering {
        at: Endpoint,
        channel_id: u64,
        waiting_us: u64,
    },
    /// It waits for its transport.
    Writing { waiting_us: u64 },
    /// Nobody runs it.
    NotPolled { polled_age_us: u64 },
}

/// Who is at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PeerOf {
    /// This link of a traced process.
    Link(Endpoint),
    /// One of these links.
    OneOf(Vec<Endpoint>),
    /// This process, of which there are no rows.
    Process { pid: u32, held_by: Option<u32> },
    /// Not known, and why.
    Unknown(String),
}

impl<'a> Court<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, calls: &'a Calls) -> Self {
        let mut court = Self {
            scene,
            calls,
            not_received: HashMap::new(),
            cases: RefCell::default(),
            shared: RefCell::default(),
            behind: OnceCell::new(),
            unpaired: vec![0; scene.snapshots.len()],
            neighbours: HashMap::new(),
            traced: scene
                .snapshots
                .iter()
                .map(|snapshot| snapshot.process.pid)
                .collect(),
        };
        for neighbour in &scene.facts.neighbours {
            court.add_neighbour(neighbour.pid, neighbour.peer.clone());
            if let Peer::Process { pid, .. } = neighbour.peer {
                let back = Peer::Process {
                    pid: neighbour.pid,
                    held_by: None,
                };
                court.add_neighbour(pid, back);
            }
        }
        for (process, snapshot) in (0..).zip(scene.snapshots) {
            for row in &snapshot.connections {
                let [endpoint, link] =
                    [row.serial, row.link].map(|serial| Endpoint { process, serial });
                let Some(partner) = calls.pairs().partner(link) else {
                    let is_open = row.state == ConnectionState::Open;
                    court.unpaired[process as usize] += u32::from(endpoint == link && is_open);
                    continue;
                };
                let sent = calls
                    .pairs()
                    .connection_of(partner.link, row.conn_id)
                    .and_then(|there| scene.connection(there)?.sent);
                if let (Some(sent), Some(received)) = (sent, row.received)
                    && sent.messages > received.messages
                    && sent
                        .idle_us
                        .is_some_and(|idle_us| idle_us >= scene.stuck_us)
                {
                    *court.not_received.entry(link).or_default() +=
                        sent.messages - received.messages;
                }
            }
        }
        court
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

    /// What is known of a link.
    pub(super) fn link_case(&self, link: Endpoint) -> Rc<LinkCase> {
        if let Some(case) = self.cases.borrow().get(&link) {
            return case.clone();
        }
        let peer = self.peer_pid(link);
        let case = Rc::new(LinkCase {
            trouble: self.trouble(link),
            peer,
            peer_life: peer.map_or(ProcessState::Alive, |(pid, _)| self.scene.life(pid)),
        });
        self.cases.borrow_mut().insert(link, case.clone());
        case
    }

    /// The words that a link's rows share, made at the first need.
    pub(super) fn shared(
        &self,
        link: Endpoint,
        what: Shared,
        make: impl FnOnce() -> (String, Vec<Evidence>),
    ) -> Words {
        if let Some(words) = self.shared.borrow().get(&(link, what)) {
            return words.clone();
        }
        let (text, evidence) = make();
        let words: Words = (text.into(), evidence.into());
        self.shared.borrow_mut().insert((link, what), words.clone());
        words
    }

    /// Requests that a driver in trouble holds up.
    fn behind(&self, link: Endpoint) -> u64 {
        let is_held_up = |request: &Request| match request.direction {
            Direction::Outgoing => request.phase != Phase::Responded,
            Direction::Incoming => request.phase == Phase::Responding,
        };
        let behind = self.behind.get_or_init(|| {
            let mut behind = HashMap::new();
            for (row, request) in self.scene.requests() {
                if is_held_up(request) {
                    let link = self.scene.link(self.scene.endpoint(row));
                    *behind.entry(link).or_default() += 1;
                }
            }
            behind
        });
        behind.get(&link).copied().unwrap_or(0)
    }

    pub(super) fn trouble(&self, link: Endpoint) -> Option<Trouble> {
        let stuck_us = self.scene.stuck_us;
        if let Some((at, delivering)) = self.scene.delivering(link)
            && delivering.waiting_us >= stuck_us
        {
            return Some(Trouble::Delivering {
                at,
                channel_id: delivering.channel_id,
                waiting_us: delivering.waiting_us,
            });
        }
        let driver = self.scene.connection(link)?.driver?;
        if let Some(waiting_us) = driver.writing_us {
            return (waiting_us >= stuck_us).then_some(Trouble::Writing { waiting_us });
        }
        let has_work = driver.enqueued > driver.dequeued || self.not_received.contains_key(&link);
        (has_work && driver.polled_age_us >= stuck_us).then_some(Trouble::NotPolled {
            polled_age_us: driver.polled_age_us,
        })
    }

    pub(super) fn peer_of(&self, link: Endpoint) -> PeerOf {
        if let Some(partner) = self.calls.pairs().partner(link) {
            return PeerOf::Link(partner.link);
        }
        let candidates = self.calls.pairs().candidates(link);
        if !candidates.is_empty() {
            return PeerOf::OneOf(candidates.to_vec());
        }
        self.untraced_peer_of(link)
    }

    fn untraced_peer_of(&self, link: Endpoint) -> PeerOf {
        let pid = self.scene.pid(link.process);
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
            [] if self.are_ties_known(pid) => PeerOf::Unknown(
                "peer not found: this process shares no socket or memory with another that could be seen"
                    .into(),
            ),
            [] => PeerOf::Unknown("peer not traced: run as root, or name it with -p".into()),
            [Peer::Process { pid, held_by }] if is_only_link => PeerOf::Process {
                pid: *pid,
                held_by: *held_by,
            },
            [Peer::Unseen(text)] if is_only_link => {
                PeerOf::Unknown(format!("peer not traced: it is {text}"))
            }
            peers => {
                let names: Vec<_> = peers
                    .iter()
                    .take(3)
                    .map(|peer| match peer {
                        Peer::Process { pid, .. } => self.pid_name(*pid),
                        Peer::Unseen(text) => text.clone(),
                    })
                    .collect();
                let more = match peers.len() - names.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                PeerOf::Unknown(format!(
                    "peer not traced, one of {}{more}: name it with -p",
                    names.join(", ")
                ))
            }
        }
    }

    fn are_ties_known(&self, pid: u32) -> bool {
        self.scene
            .process_facts(pid)
            .is_some_and(|facts| facts.are_ties_known)
    }

    /// `name[pid]` of any process that is known of.
    pub(super) fn pid_name(&self, pid: u32) -> String {
        self.scene
            .process_facts(pid)
            .map(|facts| facts.process.to_string())
            .unwrap_or_else(|| format!("[{pid}]"))
    }

    /// The pid at the other end of a link and who keeps that end open, where it is one process.
    pub(super) fn peer_pid(&self, link: Endpoint) -> Option<(u32, Option<u32>)> {
        match self.peer_of(link) {
            PeerOf::Link(peer) => Some((self.scene.pid(peer.process), None)),
            PeerOf::Process { pid, held_by } => Some((pid, held_by)),
            PeerOf::OneOf(_) | PeerOf::Unknown(_) => None,
        }
    }

    /// Why nothing is known of the other end.
    pub(super) fn missing_peer(&self, link: Endpoint) -> String {
        match self.peer_of(link) {
            PeerOf::Link(peer) => format!(
                "no one row of {} is known to be it",
                self.scene.process_name(peer.process)
            ),
            PeerOf::OneOf(links) => format!(
                "peer ambiguous: {} connections may be the other end",
                links.len()
            ),
            PeerOf::Process { pid, .. } => {
                let reason = self
                    .scene
                    .process_facts(pid)
                    .and_then(|facts| facts.untraced.clone())
                    .unwrap_or_else(|| "run as root, or name it with -p".into());
                format!("peer {} not traced: {reason}", self.pid_name(pid))
            }
            PeerOf::Unknown(text) => text,
        }
    }

    /// The request whose handler or caller is to read the channel.
    pub(super) fn channel_owner(&self, at: Endpoint, channel_id: u64) -> Option<RowId> {
        let channel = self.scene.channel(at, channel_id)?;
        self.scene.request_by_serial(at.process, channel.request?)
    }

    /// What a driver is in, in words, and the evidence for it.
    pub(super) fn describe(&self, link: Endpoint, trouble: Trouble) -> Words {
        self.shared(link, Shared::Trouble, || self.words_of(link, trouble))
    }

    fn words_of(&self, link: Endpoint, trouble: Trouble) -> (String, Vec<Evidence>) {
        let mut evidence = self.driver_evidence(link);
        let text = match trouble {
            Trouble::Delivering {
                at,
                channel_id,
                waiting_us,
            } => {
                let channel = self.scene.channel(at, channel_id);
                evidence.push(Evidence::Delivering {
                    pid: self.scene.pid(link.process),
                    channel_id,
                    waiting_us,
                    unread_items: channel.map(unread),
                    requests_behind: self.behind(link),
                });
                let mut text = format!(
                    "has waited {} to deliver to channel {channel_id}",
                    Age(waiting_us)
                );
                match self.channel_owner(at, channel_id) {
                    Some(owner) => {
                        evidence.push(self.row_evidence(Relation::ChannelOwner, owner));
                        let owner = self.scene.request(owner);
                        text.push_str(&format!(
                            ", which {} (req_id={}) does not read",
                            owner.method_name(),
                            owner.request_id
                        ));
                    }
                    None => text.push_str(", which nobody reads"),
                }
                text
            }
            Trouble::Writing { waiting_us } => format!(
                "has been in a write to the transport for {}: the peer does not take it",
                Age(waiting_us)
            ),
            Trouble::NotPolled { polled_age_us } => {
                if let Some(&messages) = self.not_received.get(&link) {
                    evidence.push(Evidence::NotReceived {
                        pid: self.scene.pid(link.process),
                        messages,
                    });
                }
                evidence.extend(self.threads_evidence(link.process));
                format!(
                    "has work and last ran {} ago: its runtime is starved or blocked",
                    Age(polled_age_us)
                )
            }
        };
        (text, evidence)
    }

    pub(super) fn driver_evidence(&self, link: Endpoint) -> Vec<Evidence> {
        self.scene
            .connection(link)
            .and_then(|row| row.driver)
            .map(|driver| Evidence::Driver {
                pid: self.scene.pid(link.process),
                polled_age_us: driver.polled_age_us,
                writing_us: driver.writing_us,
                enqueued: driver.enqueued,
                dequeued: driver.dequeued,
            })
            .into_iter()
            .collect()
    }

    pub(super) fn threads_evidence(&self, process: u32) -> Option<Evidence> {
        let pid = self.scene.pid(process);
        let states = self.scene.process_facts(pid)?.threads.clone();
        (!states.is_empty()).then_some(Evidence::Threads { pid, states })
    }

    pub(super) fn row_evidence(&self, relation: Relation, row: RowId) -> Evidence {
        let request = self.scene.request(row);
        Evidence::Row {
            relation,
            pid: self.scene.pid(row.process),
            serial: request.serial,
            phase: request.phase,
            phase_age_us: request.phase_age_us,
        }
    }

    pub(super) fn life(&self, process: u32) -> ProcessState {
        self.scene.life(self.scene.pid(process))
    }
}
