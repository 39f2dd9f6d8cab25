//! Which connection of one process is which of another.
//!
//! A row names neither descriptor nor peer, so links are paired by what both ends
//! saw: the requests, the messages and bytes each way, and when they were opened.
//! Candidates come from hash joins over those three and are few for every link;
//! a pair counts when each end prefers the other to all of its other candidates.
//! What stays undecided is ambiguous and never guessed.

use std::collections::{HashMap, HashSet};

use roam_trace_common::event::{ConnectionState, Direction, RequestKind, Role};

use super::facts::{Moved, Peer, Via};
use super::scene::{Endpoint, RowId, Scene};

/// Candidates that one row or link brings in by one ground.
const NEAREST: usize = 8;
/// Rows that are looked at for them.
const LOOKS: usize = 64;
/// How long after the caller's start a callee may start to count as its match while nothing else is known.
const SOON_US: i64 = 1_000_000;
/// Ends of one link that open further apart have met with something odd.
const OPENED_APART_US: i64 = 1_000_000;
/// Differences below are noise: the clock ticks every 1 to 10 ms.
const NOISE_US: i64 = 20_000;

/// How sure an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The best of several, or found by elimination.
    Medium,
    /// Several grounds agree and none objects.
    High,
    /// Recorded by the process itself.
    Known,
}

/// The other end of a link, and how it was found.
#[derive(Debug, Clone)]
pub(super) struct Partner {
    pub(super) link: Endpoint,
    pub(super) confidence: Confidence,
    pub(super) ground: String,
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
    let mut pairs = decide(candidates.judge(&links, &neighbours), &links);
    pairs.virtuals = links.virtuals;
    pairs
}

/// What is known of the root of a link.
struct Link {
    endpoint: Endpoint,
    role: Option<Role>,
    opened_us: Option<i64>,
    moved: Option<Moved>,
    /// The same before the first and after the last snapshot of all was taken.
    around: Option<[Moved; 2]>,
}

struct Links {
    all: Vec<Link>,
    by_endpoint: HashMap<Endpoint, u32>,
    virtuals: HashMap<(Endpoint, u64), Endpoint>,
}

impl Links {
    fn new(scene: &Scene<'_>) -> Self {
        let mut links = Self {
            all: Vec::new(),
            by_endpoint: HashMap::new(),
            virtuals: HashMap::new(),
        };
        for (process, snapshot) in (0..).zip(scene.snapshots) {
            let pid = snapshot.process.pid;
            for row in &snapshot.connections {
                let [endpoint, link] =
                    [row.serial, row.link].map(|serial| Endpoint { process, serial });
                links.virtuals.insert((link, row.conn_id), endpoint);
                let is_up = matches!(row.state, ConnectionState::Open | ConnectionState::Closed);
                if endpoint != link || !is_up {
                    continue;
                }
                let taken_us = snapshot.taken_ns / 1_000;
                let around = [&scene.facts.before, &scene.facts.after]
                    .map(|counters| counters.0.get(&(pid, row.serial)).copied());
                links.add(Link {
                    endpoint,
                    role: Some(row.role),
                    opened_us: Some(taken_us as i64 - row.age_us as i64),
                    moved: Moved::of(row),
                    around: around[0]
                        .zip(around[1])
                        .map(|(before, after)| [before, after]),
                });
            }
        }
        for (row, _) in scene.requests() {
            let link = scene.link(scene.endpoint(row));
            if !links.by_endpoint.contains_key(&link) && scene.connection(link).is_none() {
                links.virtuals.insert((link, 0), link);
                links.add(Link {
                    endpoint: link,
                    role: None,
                    opened_us: None,
                    moved: None,
                    around: None,
                });
            }
        }
        links
    }

    fn add(&mut self, link: Link) {
        self.by_endpoint
            .insert(link.endpoint, self.all.len() as u32);
        self.all.push(link);
    }

    fn get(&self, index: u32) -> &Link {
        &self.all[index as usize]
    }

    fn may_be_one(&self, a: u32, b: u32) -> bool {
        let (a, b) = (self.get(a), self.get(b));
        a.endpoint != b.endpoint
            && match (a.role, b.role) {
                (Some(a), Some(b)) => a != b,
                _ => true,
            }
    }
}

/// Which processes are connected, as far as that is known.
struct Neighbours {
    via: HashMap<(u32, u32), Via>,
    are_ties_known: Vec<bool>,
}

/// How two processes are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    Shared(Via),
    /// What at least one of them shares with others is not known.
    Unknown,
    /// They share nothing.
    None,
}

impl Neighbours {
    fn new(scene: &Scene<'_>) -> Self {
        let mut by_pid: HashMap<u32, Vec<u32>> = HashMap::new();
        for (process, snapshot) in (0..).zip(scene.snapshots) {
            by_pid
                .entry(snapshot.process.pid)
                .or_default()
                .push(process);
        }
        let processes = |pid| by_pid.get(&pid).map_or(&[][..], Vec::as_slice);
        let mut via = HashMap::new();
        for neighbour in &scene.facts.neighbours {
            if let Peer::Process { pid, .. } = neighbour.peer {
                for &a in processes(neighbour.pid) {
                    for &b in processes(pid) {
                        via.insert((a, b), neighbour.via);
                        via.insert((b, a), neighbour.via);
                    }
                }
            }
        }
        Self {
            via,
            are_ties_known: scene
                .snapshots
                .iter()
                .map(|snapshot| {
                    scene
                        .process_facts(snapshot.process.pid)
                        .is_some_and(|facts| facts.are_ties_known)
                })
                .collect(),
        }
    }

    fn tie(&self, a: u32, b: u32) -> Tie {
        match self.via.get(&(a, b)) {
            Some(&via) => Tie::Shared(via),
            None if self.are_ties_known[a as usize] && self.are_ties_known[b as usize] => Tie::None,
            None => Tie::Unknown,
        }
    }

    /// The processes that one is known to share something with.
    fn of(&self) -> HashMap<u32, Vec<u32>> {
        let mut of: HashMap<u32, Vec<u32>> = HashMap::new();
        for &(a, b) in self.via.keys() {
            of.entry(a).or_default().push(b);
        }
        of
    }
}

/// Two links that may be the ends of one, the smaller index first, and the requests that both have.
#[derive(Default)]
struct Candidates(HashMap<(u32, u32), Requests>);

/// Requests that two links both have.
#[derive(Debug, Clone, Copy, Default)]
struct Requests {
    count: u32,
    /// By how much the callees started after their callers, together.
    behind_us: i64,
}

impl Requests {
    fn mean_behind_us(self) -> Option<i64> {
        (self.count > 0).then(|| self.behind_us / i64::from(self.count))
    }
}

impl Candidates {
    fn add(&mut self, links: &Links, a: u32, b: u32) -> Option<&mut Requests> {
        links
            .may_be_one(a, b)
            .then(|| self.0.entry((a.min(b), a.max(b))).or_default())
    }

    /// Those for which anything speaks and nothing that is impossible.
    fn judge(self, links: &Links, neighbours: &Neighbours) -> Vec<Candidate> {
        let mut judged: Vec<_> = self
            .0
            .into_iter()
            .filter_map(|((a, b), requests)| {
                let (first, second) = (links.get(a), links.get(b));
                let candidate = Candidate {
                    ends: [a, b],
                    tie: neighbours.tie(first.endpoint.process, second.endpoint.process),
                    requests,
                    counters: compare_counters(first, second),
                    messages: first.moved.map_or(0, |moved| moved.0[0] + moved.0[2]),
                    opened_apart_us: first
                        .opened_us
                        .zip(second.opened_us)
                        .map(|(a, b)| (a - b).abs()),
                };
                candidate.is_plausible().then_some(candidate)
            })
            .collect();
        judged.sort_unstable_by_key(|candidate| candidate.ends);
        judged
    }
}

struct Candidate {
    ends: [u32; 2],
    tie: Tie,
    requests: Requests,
    counters: Fit,
    messages: u64,
    opened_apart_us: Option<i64>,
}

/// How the counters of two ends go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// One received more than the other ever sent.
    Impossible,
    /// Something was sent and not received, or there are no counters.
    Open,
    /// What one sent the other received, both ways.
    Exact,
}

/// Messages that the receiver may have counted before the sender did.
const SLACK_MESSAGES: u64 = 2;
/// Messages that may have moved between the looks at two ends, where there is no look around both.
const UNSEEN_MESSAGES: u64 = 64;

fn compare_counters(a: &Link, b: &Link) -> Fit {
    let (Some(a_moved), Some(b_moved)) = (a.moved, b.moved) else {
        return Fit::Open;
    };
    // A driver that does not count, or a link that has not moved anything: all of those are alike.
    if a_moved == Moved::default() || b_moved == Moved::default() {
        return Fit::Open;
    }
    let (a_around, b_around, slack) = match (a.around, b.around) {
        (Some(a), Some(b)) => (a, b, SLACK_MESSAGES),
        _ => ([a_moved; 2], [b_moved; 2], UNSEEN_MESSAGES),
    };
    one_way(a_around, b_moved.at_other_end(), slack).min(one_way(
        b_around,
        a_moved.at_other_end(),
        slack,
    ))
}

/// `received` was counted between the two looks at what was `sent`.
fn one_way(sent: [Moved; 2], received: Moved, slack: u64) -> Fit {
    let [[least, least_bytes], [most, most_bytes]] =
        sent.map(|Moved([count, bytes, ..])| [count, bytes]);
    let Moved([count, bytes, ..]) = received;
    if count > most + slack {
        Fit::Impossible
    } else if (least..=most).contains(&count) && (least_bytes..=most_bytes).contains(&bytes) {
        Fit::Exact
    } else {
        Fit::Open
    }
}

impl Candidate {
    fn is_plausible(&self) -> bool {
        let opened_together = self
            .opened_apart_us
            .is_some_and(|apart| apart <= OPENED_APART_US);
        self.counters != Fit::Impossible
            && match self.tie {
                Tie::Shared(_) => {
                    self.requests.count > 0 || self.counters == Fit::Exact || opened_together
                }
                Tie::Unknown => {
                    self.requests.count > 0 || self.counters == Fit::Exact && opened_together
                }
                Tie::None => false,
            }
    }

    /// How many grounds prefer this one to `other`, less those that prefer the other.
    fn lead(&self, other: &Self) -> i32 {
        let counters = self.counters as i32 - other.counters as i32;
        let requests = match (self.requests.count, other.requests.count) {
            (a, b) if a > 0 && a >= 2 * b => 1,
            (a, b) if b > 0 && b >= 2 * a => -1,
            _ => closer(
                self.requests.mean_behind_us(),
                other.requests.mean_behind_us(),
            ),
        };
        let opened = closer(self.opened_apart_us, other.opened_apart_us);
        let tie = i32::from(matches!(self.tie, Tie::Shared(_)))
            - i32::from(matches!(other.tie, Tie::Shared(_)));
        counters.signum() + requests + opened + tie
    }

    fn other_end(&self, end: u32) -> u32 {
        if self.ends[0] == end {
            self.ends[1]
        } else {
            self.ends[0]
        }
    }

    fn confidence(&self, is_last: bool) -> Confidence {
        let grounds = [
            matches!(self.tie, Tie::Shared(_)),
            self.requests.count > 0,
            self.counters == Fit::Exact && self.messages >= 4,
            self.opened_apart_us
                .is_some_and(|apart| apart <= NOISE_US * 5),
        ];
        let agreeing = grounds.into_iter().filter(|&agrees| agrees).count();
        if agreeing >= 2 && !is_last {
            Confidence::High
        } else {
            Confidence::Medium
        }
    }

    fn ground(&self, is_last: bool) -> String {
        let mut grounds = Vec::new();
        match self.tie {
            Tie::Shared(via) => grounds.push(via.name().to_owned()),
            Tie::Unknown => grounds.push("sockets not known".to_owned()),
            Tie::None => {}
        }
        match self.requests.count {
            0 => {}
            1 => grounds.push("1 request agrees".to_owned()),
            count => grounds.push(format!("{count} requests agree")),
        }
        if self.counters == Fit::Exact {
            grounds.push("messages and bytes agree".to_owned());
        }
        if let Some(apart) = self.opened_apart_us
            && apart <= OPENED_APART_US
        {
            grounds.push(format!(
                "opened {}.{} ms apart",
                apart / 1_000,
                apart % 1_000 / 100
            ));
        }
        if is_last {
            grounds.push("the only ones left".to_owned());
        }
        grounds.join(", ")
    }
}

/// 1 where the first time is shorter by more than chance, -1 where the second is.
fn closer(a_us: Option<i64>, b_us: Option<i64>) -> i32 {
    match (a_us, b_us) {
        (Some(a), Some(b)) if a.max(b) < NOISE_US => 0,
        (Some(a), Some(b)) if a * 4 <= b => 1,
        (Some(a), Some(b)) if b * 4 <= a => -1,
        _ => 0,
    }
}

/// By id on the wire, method and time: a callee starts just after its caller.
fn find_by_requests(
    scene: &Scene<'_>,
    links: &Links,
    neighbours: &Neighbours,
    candidates: &mut Candidates,
) {
    let conn_id = |row: RowId| {
        scene
            .connection(scene.endpoint(row))
            .map_or(0, |connection| connection.conn_id)
    };
    let mut callers: HashMap<(u64, u64, u64), Vec<(i64, RowId)>> = HashMap::new();
    let mut callees = Vec::new();
    for (row, request) in scene.requests() {
        if request.kind != RequestKind::Call {
            continue;
        }
        let key = (conn_id(row), request.request_id, request.method_id);
        let started_us = scene.started_us(row);
        match request.direction {
            Direction::Outgoing => callers.entry(key).or_default().push((started_us, row)),
            Direction::Incoming => callees.push((key, started_us, row)),
        }
    }
    for rows in callers.values_mut() {
        rows.sort_unstable();
    }
    for (key, started_us, callee) in callees {
        let Some(callers) = callers.get(&key) else {
            continue;
        };
        let latest_us = started_us + scene.tolerance_us([callee, callee]);
        let end = callers.partition_point(|&(at_us, _)| at_us <= latest_us);
        let Some(&to) = links.by_endpoint.get(&scene.link(scene.endpoint(callee))) else {
            continue;
        };
        let mut seen = HashSet::new();
        for &(at_us, caller) in callers[..end].iter().rev().take(LOOKS) {
            if started_us - at_us > SOON_US || seen.len() == NEAREST {
                break;
            }
            let Some(&from) = links.by_endpoint.get(&scene.link(scene.endpoint(caller))) else {
                continue;
            };
            let is_tied = neighbours.tie(caller.process, callee.process) != Tie::None;
            if !is_tied || !seen.insert(from) {
                continue;
            }
            if let Some(requests) = candidates.add(links, from, to) {
                requests.count += 1;
                requests.behind_us += (started_us - at_us).max(0);
            }
        }
    }
}

/// By equal messages and bytes each way.
fn find_by_counters(links: &Links, neighbours: &Neighbours, candidates: &mut Candidates) {
    let mut by_moved: HashMap<Moved, Vec<u32>> = HashMap::new();
    for (index, link) in (0..).zip(&links.all) {
        if let Some(moved) = link.moved
            && moved != Moved::default()
        {
            by_moved.entry(moved).or_default().push(index);
        }
    }
    for (index, link) in (0..).zip(&links.all) {
        let Some(others) = link
            .moved
            .and_then(|moved| by_moved.get(&moved.at_other_end()))
        else {
            continue;
        };
        let near = others
            .iter()
            .take(LOOKS)
            .copied()
            .filter(|&other| {
                let other = links.get(other).endpoint.process;
                neighbours.tie(link.endpoint.process, other) != Tie::None
            })
            .take(NEAREST);
        for other in near {
            let _ = candidates.add(links, index, other);
        }
    }
}

/// By when they were opened, among processes that share a socket or memory.
fn find_by_opening(links: &Links, neighbours: &Neighbours, candidates: &mut Candidates) {
    let mut by_process: HashMap<u32, Vec<(i64, u32)>> = HashMap::new();
    for (index, link) in (0..).zip(&links.all) {
        if let Some(opened_us) = link.opened_us {
            by_process
                .entry(link.endpoint.process)
                .or_default()
                .push((opened_us, index));
        }
    }
    for links in by_process.values_mut() {
        links.sort_unstable();
    }
    for (process, others) in neighbours.of() {
        let Some(own) = by_process.get(&process) else {
            continue;
        };
        for other in others {
            let Some(theirs) = by_process.get(&other) else {
                continue;
            };
            // The end with fewer links looks; the other end is looked at.
            if (own.len(), process) > (theirs.len(), other) {
                continue;
            }
            for &(opened_us, index) in own {
                let at = theirs.partition_point(|&(theirs_us, _)| theirs_us < opened_us);
                let (earlier, later) = theirs.split_at(at);
                let near = |rows: &mut dyn Iterator<Item = &(i64, u32)>| {
                    rows.take(LOOKS)
                        .map(|&(_, other)| other)
                        .filter(|&other| links.may_be_one(index, other))
                        .take(NEAREST)
                        .collect::<Vec<_>>()
                };
                let near_earlier = near(&mut earlier.iter().rev());
                for other in near_earlier.into_iter().chain(near(&mut later.iter())) {
                    let _ = candidates.add(links, index, other);
                }
            }
        }
    }
}

/// Pairs the links that prefer each other, then looks again at those that lost a candidate by it.
fn decide(candidates: Vec<Candidate>, links: &Links) -> Pairs {
    let mut of_link: Vec<Vec<u32>> = vec![Vec::new(); links.all.len()];
    for (index, candidate) in (0..).zip(&candidates) {
        for end in candidate.ends {
            of_link[end as usize].push(index);
        }
    }
    let mut is_alive = vec![true; candidates.len()];
    let mut queue: Vec<u32> = (0..links.all.len() as u32).rev().collect();
    let mut pairs = Pairs::default();
    while let Some(link) = queue.pop() {
        let best =
            |link: u32, is_alive: &[bool]| best_of(&of_link[link as usize], &candidates, is_alive);
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
        for (own, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            pairs.partners.insert(
                own,
                Partner {
                    link: other,
                    confidence: candidate.confidence(had_rivals),
                    ground: candidate.ground(had_rivals),
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
