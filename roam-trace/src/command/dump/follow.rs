//! After a look at some processes: those that they wait for, and that are not read yet.
//!
//! They hold the other end of a connection that something stuck waits for. If nothing is stuck, a handler at the other
//! end may still run for a caller that gave up: nothing in the caller's process shows that. Processes choose what
//! there is to follow, so all of it has limits; what is not followed is a gap of the process that waits for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;
use std::time::Duration;

use roam_dump::analysis::{Facts, Neighbour, Peer, ProcessFacts, STUCK_US};
use roam_dump::model::{Gap, Snapshot};
use roam_dump::read::Budget;
use roam_dump::render::Counted;
use roam_trace_common::event::Direction;
use rustix::time::{ClockId, clock_gettime};

use super::awaited::{AwaitedLink, awaited_links, has_stuck_rows, is_abandoned, open_links};
use crate::command::by_registry::by_registry;
use crate::process::Target;
use crate::process::turns::in_turns;

/// Processes of one dump, with those that the user asked for.
const PROCESSES: usize = 64;
/// Steps from those to the end of a chain.
const STEPS: u32 = 16;
/// Time of a processor after which no further step begins.
const CPU: Duration = Duration::from_millis(500);
/// Processes that are opened in one step.
const OPENED: usize = 256;
/// Rows of a process that are read to see whether it may have abandoned handlers.
const PEEKED_ROWS: u32 = 1_000;
/// Gaps of one process that name others, which are not followed.
const NAMED: usize = 3;

/// How far the processes were followed.
pub(super) struct Following {
    steps: u32,
    began: Duration,
    armed: HashSet<u32>,
    /// The processes that were found, followed or not.
    found: HashSet<u32>,
    /// What is not followed, by the process that waits for it.
    refused: BTreeMap<u32, Refused>,
    /// The processes that were added because they may have abandoned handlers, once it was looked for these.
    looked_for_abandoned: Option<HashSet<u32>>,
}

/// What to do before the processes are read once more.
pub(super) enum Step {
    /// Nothing: all that is waited for is read, as far as it can be.
    Done,
    /// Read these processes, too.
    Add(Vec<Target>),
    /// Do not read these any more: nothing in them concerns the others.
    Remove(HashSet<u32>),
}

/// The processes that one process waits for and that are not followed.
#[derive(Default)]
struct Refused {
    gaps: Vec<Gap>,
    /// Those that are not named.
    more: u64,
}

/// A process that may be at the other end of a link.
struct Candidate {
    pid: u32,
    /// The process that waits.
    waiting: u32,
    /// Whether the socket of the link leads there, and not just some socket of the process that waits.
    is_by_socket: bool,
}

/// What was found at the other ends of links.
#[derive(Default)]
struct Found {
    /// The processes to read.
    added: Vec<Target>,
    /// Those that cannot be read, or may not because of a limit.
    refused: Vec<(Candidate, Option<&'static str>)>,
}

impl Following {
    /// `armed` are the processes that have reported something to what is armed.
    pub(super) fn begin(armed: HashSet<u32>) -> Self {
        Self {
            armed,
            steps: 0,
            began: cpu_time(),
            found: HashSet::new(),
            refused: BTreeMap::new(),
            looked_for_abandoned: None,
        }
    }

    /// Takes one step from `snapshots`, which have verdicts.
    pub(super) fn step(
        &mut self,
        snapshots: &[Snapshot],
        facts: &Facts,
        targets: &[Target],
    ) -> Step {
        let without = self.without_abandoned(snapshots);
        if !without.is_empty() {
            return Step::Remove(without);
        }
        self.found.extend(targets.iter().map(Target::pid));
        let links: Vec<_> = snapshots.iter().flat_map(awaited_links).collect();
        let Found { mut added, refused } = self.find(&links, facts, targets);
        self.refuse(refused, facts);
        self.refuse_unseen(&links, facts);
        if self.looked_for_abandoned.is_none() && !has_stuck_rows(snapshots) {
            let links: Vec<_> = snapshots.iter().flat_map(open_links).collect();
            added = self.find(&links, facts, targets).added;
            let calls = snapshots.iter().flat_map(|snapshot| &snapshot.requests);
            let calls = calls.filter(|row| row.direction == Direction::Outgoing);
            let calls = calls.map(|row| (row.request_id, row.method_id)).collect();
            added.retain(|target| self.is_timely() && may_serve_nobody(target, &calls));
            self.looked_for_abandoned = Some(added.iter().map(Target::pid).collect());
        }
        self.steps += 1;
        match added.is_empty() {
            true => Step::Done,
            false => Step::Add(added),
        }
    }

    /// Adds what was not followed to the gaps of the processes that wait for it.
    pub(super) fn add_gaps(mut self, snapshots: &mut [Snapshot]) {
        for snapshot in snapshots {
            let refused = self.refused.remove(&snapshot.process.pid);
            let Refused { gaps, more } = refused.unwrap_or_default();
            snapshot.gaps.extend(gaps);
            if more > 0 {
                let text = format!("not followed: {}", Counted(more, "more processes"));
                snapshot.gaps.push(Gap::Other { text });
            }
        }
    }

    /// Of the processes that were added only because they may have abandoned handlers, those that have none.
    fn without_abandoned(&mut self, snapshots: &[Snapshot]) -> HashSet<u32> {
        let mut added = (self.looked_for_abandoned.as_mut()).map_or_else(HashSet::new, mem::take);
        for snapshot in snapshots {
            if snapshot.requests.iter().any(is_abandoned) {
                added.remove(&snapshot.process.pid);
            }
        }
        added
    }

    /// Finds the processes at the other ends of links that are not read yet and can be read: first those of each user
    /// that somebody has waited for longest.
    fn find(&mut self, links: &[AwaitedLink<'_>], facts: &Facts, targets: &[Target]) -> Found {
        let mut candidates = candidates(links, facts);
        candidates.retain(|candidate| self.found.insert(candidate.pid));
        let users: HashMap<u32, u32> = (targets.iter())
            .map(|target| (target.pid(), target.process.user()))
            .collect();
        let mut found = Found::default();
        let mut opened = Vec::new();
        for (count, candidate) in candidates.into_iter().enumerate() {
            if count >= OPENED {
                found
                    .refused
                    .push((candidate, Some("too many others are waited for")));
                continue;
            }
            match Target::find(candidate.pid) {
                Ok(target)
                    if !candidate.is_by_socket
                        && users.get(&candidate.waiting) != Some(&target.process.user()) => {}
                Ok(target)
                    if target.has_registry().is_ok_and(|has_registry| has_registry)
                        || self.armed.contains(&target.pid()) =>
                {
                    opened.push((candidate, target));
                }
                Err(error) if error.is_no_process() => {}
                Ok(_) | Err(_) => found.refused.push((candidate, None)),
            }
        }
        let (room, limit) = match self.is_timely() {
            true => (
                PROCESSES.saturating_sub(targets.len()),
                "64 processes are read",
            ),
            false => (0, "the limit of time is reached"),
        };
        for (candidate, mut target) in in_turns(opened, |(_, target)| target.process.user()) {
            if found.added.len() < room {
                target.is_followed = true;
                found.added.push(target);
            } else {
                found.refused.push((candidate, Some(limit)));
            }
        }
        found
    }

    fn is_timely(&self) -> bool {
        self.steps < STEPS && cpu_time().saturating_sub(self.began) < CPU
    }

    /// Notes that processes are not followed. Those that only may be at the other end of a link are left out.
    fn refuse(&mut self, refused: Vec<(Candidate, Option<&'static str>)>, facts: &Facts) {
        let processes = facts.processes.iter();
        let processes: HashMap<u32, &ProcessFacts> =
            processes.map(|facts| (facts.process.pid, facts)).collect();
        for (candidate, limit) in refused {
            if let Some(facts) = processes.get(&candidate.pid)
                && let Some(reason) = limit.or(facts.untraced.as_deref())
                && candidate.is_by_socket
            {
                let gap = Gap::NotFollowed {
                    process: facts.process.clone(),
                    reason: reason.to_owned(),
                };
                self.refused.entry(candidate.waiting).or_default().add(gap);
            }
        }
    }

    /// Notes that processes wait for something that cannot be seen.
    fn refuse_unseen(&mut self, links: &[AwaitedLink<'_>], facts: &Facts) {
        let waiting = without_process(links, facts);
        for Neighbour { pid, peer, .. } in &facts.neighbours {
            if let Peer::Unseen(peer) = peer
                && waiting.contains(pid)
            {
                let text = format!("not followed: the peer is {peer}");
                self.refused
                    .entry(*pid)
                    .or_default()
                    .add(Gap::Other { text });
            }
        }
    }
}

impl Refused {
    fn add(&mut self, gap: Gap) {
        match self.gaps.len() < NAMED {
            _ if self.gaps.contains(&gap) => {}
            true => self.gaps.push(gap),
            false => self.more += 1,
        }
    }
}

/// The processes that may be at the other ends of links, first those that somebody has waited for longest. Where the
/// socket of a link is not known, these are all neighbours of its process.
fn candidates(links: &[AwaitedLink<'_>], facts: &Facts) -> Vec<Candidate> {
    let mut links: Vec<_> = links.iter().collect();
    links.sort_by_key(|link| Reverse(link.age_us));
    let mut candidates: Vec<_> = links.iter().flat_map(|link| peers(link, facts)).collect();
    let waiting = without_process(links, facts);
    for Neighbour { pid, peer, .. } in &facts.neighbours {
        if let &Peer::Process { pid: peer, .. } = peer
            && waiting.contains(pid)
        {
            candidates.push(Candidate {
                pid: peer,
                waiting: *pid,
                is_by_socket: false,
            });
        }
    }
    candidates
}

/// The processes of links at whose other end no process is known.
fn without_process<'a>(
    links: impl IntoIterator<Item = &'a AwaitedLink<'a>>,
    facts: &Facts,
) -> HashSet<u32> {
    let links = links.into_iter();
    let links = links.filter(|link| peers(link, facts).is_empty());
    links.map(|link| link.pid).collect()
}

/// The processes that may be at the other end of a link, by what its row has and by its sockets.
fn peers(link: &AwaitedLink<'_>, facts: &Facts) -> Vec<Candidate> {
    let waiting = link.pid;
    let sockets = facts.transports.get(&(waiting, link.row.serial));
    let by_socket: BTreeSet<u32> = (sockets.into_iter().flatten())
        .filter_map(|socket| facts.socket_peers.get(&socket.inode))
        .flatten()
        .filter_map(|peer| match *peer {
            Peer::Process { pid, .. } => Some(pid),
            Peer::Unseen(_) => None,
        })
        .collect();
    let candidate = |pid, is_by_socket| Candidate {
        pid,
        waiting,
        is_by_socket,
    };
    match &link.row.peer {
        Some(peer) => {
            let pid = peer.process.pid;
            vec![candidate(pid, by_socket.contains(&pid))]
        }
        None => {
            let is_only = by_socket.len() == 1;
            by_socket
                .into_iter()
                .map(|pid| candidate(pid, is_only))
                .collect()
        }
    }
}

/// Returns whether a process has old handlers of calls that are not among `calls`, by request id and method.
fn may_serve_nobody(target: &Target, calls: &HashSet<(u64, u64)>) -> bool {
    let reading = target.read(Budget::of_rows(PEEKED_ROWS));
    let Ok(snapshot) = reading.and_then(|reading| by_registry(target, reading)) else {
        return false;
    };
    snapshot.requests.iter().any(|row| {
        row.direction == Direction::Incoming
            && row.age_us >= STUCK_US
            && !calls.contains(&(row.request_id, row.method_id))
    })
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
