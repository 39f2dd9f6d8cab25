//! Which processes a process is connected to: by sockets, followed through
//! sock_diag to the process that holds the other end, and by shared memory.
//!
//! A socket says nothing about roam; what is found here are candidates, and the
//! rows decide. Which socket a connection uses is looked up in the memory of its
//! transport.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use roam_dump::analysis::{Neighbour, Peer, ProcessFacts, Via};

use super::descriptors::Descriptors;
use super::holders::{Held, Holders};
use super::inspected::Inspected;
use super::link_sockets::{self, LinkSockets, Transports};
use super::mapping::FileId;
use super::proc::{self, Process};
use super::socket_table::SocketTable;
use super::sockets::{ConnectedSocket, SocketEnd};
use super::target::Target;
use super::turns::in_turns;
use super::untraced;
use crate::privilege;

/// What the targets are connected to.
#[derive(Debug, Default)]
pub struct Neighbourhood {
    /// The connections, each once.
    pub neighbours: Vec<Neighbour>,
    /// The targets, and processes at the other ends that are none.
    pub processes: Vec<ProcessFacts>,
    /// The sockets that their links may use.
    pub links: LinkSockets,
}

/// Follows the sockets and the shared memory of targets to the processes at the other ends, and looks for the
/// sockets of their transports.
///
/// What cannot be read is left out: the facts of the target then state that not everything is known.
pub fn neighbourhood(targets: &[&Target], transports: &Transports) -> Neighbourhood {
    let mut search = Search {
        targets: Vec::new(),
        sockets: SocketTable::default(),
        holders: Holders::default(),
        unheld: HashMap::new(),
        found: BTreeMap::new(),
        unseen: BTreeSet::new(),
        others: BTreeMap::new(),
        sockets_left: SOCKETS,
        joins_left: JOINS,
        cut: HashSet::new(),
    };
    search.inspect(targets);
    search.list_sockets();
    search.list_tcp_peers();
    search.follow_sockets();
    search.find_holders();
    search.join_shared_memory();
    search.finish(transports)
}

/// Returns the unread bytes of some sockets in the network namespaces of targets, by inode.
pub fn unread_bytes(targets: &[&Target], inodes: &HashSet<u64>) -> HashMap<u64, u64> {
    let namespaces: HashMap<_, _> = targets
        .iter()
        .filter_map(|target| Some((target.process.read_link("ns/net").ok()?, target)))
        .collect();
    let is_wanted = |socket: &ConnectedSocket| inodes.contains(&socket.inode);
    let listed = (namespaces.values()).filter_map(|target| {
        let lister = target.socket_lister().ok()?;
        lister.list(is_wanted).ok()
    });
    listed
        .flatten()
        .map(|socket| (socket.inode, socket.unread_bytes))
        .collect()
}

/// Descriptors of a process that is no target that are looked at.
const DESCRIPTORS: usize = 16_384;
/// Sockets of targets that are looked at; one target gets at most a quarter of what is left.
const SOCKETS: usize = 65_536;
/// Connections of targets that are followed to other processes.
const JOINS: usize = 65_536;

struct Search<'a> {
    targets: Vec<Inspected<'a>>,
    sockets: SocketTable,
    holders: Holders,
    /// Sockets that no target holds, with the targets' that are connected to them.
    unheld: HashMap<u64, Vec<Held>>,
    found: BTreeMap<(u32, u32), (Via, Option<u32>)>,
    unseen: BTreeSet<(u32, String)>,
    others: BTreeMap<u32, ProcessFacts>,
    sockets_left: usize,
    joins_left: usize,
    /// Targets that have more connections than are followed.
    cut: HashSet<u32>,
}

impl<'a> Search<'a> {
    fn inspect(&mut self, targets: &[&'a Target]) {
        for target in in_turns(targets.to_vec(), |target| target.process.user()) {
            let mut inspected = Inspected::new(target);
            let sockets = &mut inspected.descriptors.sockets;
            let room = self.sockets_left / 4;
            inspected.is_cut |= sockets.len() > room;
            sockets.truncate(room);
            self.sockets_left -= sockets.len();
            for inode in inspected.descriptors.socket_inodes() {
                self.holders.add_target(inode, target.pid());
            }
            self.targets.push(inspected);
        }
    }

    /// The sockets of every network namespace that a target is in.
    fn list_sockets(&mut self) {
        for (number, target) in self.namespaces() {
            let held = |inode| self.holders.targets(inode).is_some();
            let is_wanted = |socket: &ConnectedSocket| {
                held(socket.inode) || matches!(socket.end, SocketEnd::Unix { peer } if held(peer))
            };
            let listed = target
                .socket_lister()
                .and_then(|lister| lister.list(is_wanted));
            match listed {
                Ok(sockets) => {
                    for socket in sockets {
                        self.sockets.add(number, socket);
                    }
                }
                Err(error) => {
                    let namespace = self.targets[number].namespace.clone();
                    let name = String::from_utf8_lossy(&namespace);
                    log::info!("cannot list the sockets of {name}: {error}");
                    for inspected in &mut self.targets {
                        inspected.is_known &= inspected.namespace != namespace;
                    }
                }
            }
        }
    }

    /// A target in each network namespace, and its index, which is the number of the namespace.
    fn namespaces(&self) -> Vec<(usize, &'a Target)> {
        let mut known = HashSet::new();
        let inspected = self.targets.iter().enumerate();
        let first = inspected
            .filter(|(_, inspected)| inspected.is_known && known.insert(&inspected.namespace));
        first
            .map(|(index, inspected)| (index, inspected.target))
            .collect()
    }

    /// The sockets of others that TCP sockets of targets are connected to.
    fn list_tcp_peers(&mut self) {
        let wanted = self.sockets.tcp_without_peer();
        if wanted.is_empty() {
            return;
        }
        let is_wanted = |socket: &ConnectedSocket| match socket.end {
            SocketEnd::Tcp { local, remote } => wanted.contains(&(remote, local)),
            SocketEnd::Unix { .. } => false,
        };
        for (number, target) in self.namespaces() {
            let listed = target
                .socket_lister()
                .and_then(|lister| lister.list_tcp(is_wanted));
            for socket in listed.unwrap_or_default() {
                self.sockets.add(number, socket);
            }
        }
    }

    /// From each target's sockets to those at the other ends.
    fn follow_sockets(&mut self) {
        let mut met = Vec::new();
        for inspected in &self.targets {
            let pid = inspected.target.pid();
            let mut seen = HashSet::new();
            for &(descriptor, inode) in &inspected.descriptors.sockets {
                if !seen.insert(inode) {
                    continue;
                }
                let Some(listed) = self.sockets.get(inode) else {
                    continue;
                };
                let held = Held {
                    pid,
                    descriptor,
                    inode,
                    via: listed.via(),
                };
                match self.sockets.peer_inode(listed) {
                    Ok(peer) => met.push((peer, held)),
                    Err(text) => drop(self.unseen.insert((pid, text))),
                }
            }
        }
        for (peer, held) in met {
            let Some(holders) = self.holders.targets(peer).map(<[u32]>::to_vec) else {
                self.unheld.entry(peer).or_default().push(held);
                continue;
            };
            for holder in holders {
                let is_itself = holder == held.pid;
                if (!is_itself || self.sockets.may_be_loopback(held.inode, peer))
                    && !self.join(held.pid, holder, held.via, None)
                {
                    break;
                }
            }
        }
    }

    /// Who else holds the other end of a target's socket.
    fn find_holders(&mut self) {
        if self.unheld.is_empty() {
            return;
        }
        let targets = self.target_pids();
        let others = proc::pids().unwrap_or_default();
        let others = others.into_iter().filter(|pid| !targets.contains(pid));
        let others = others.filter_map(|pid| Process::open(pid).ok()).collect();
        let mut unseen = None;
        for process in in_turns(others, Process::user) {
            let pid = process.pid();
            match Descriptors::of(&process, DESCRIPTORS) {
                Ok(descriptors) => {
                    for inode in descriptors.socket_inodes() {
                        if let Some(connected) = self.unheld.get(&inode) {
                            self.holders.add_other(inode, pid);
                            self.meet_other(pid, &connected.clone());
                        }
                    }
                    if descriptors.is_cut {
                        unseen.get_or_insert_with(|| {
                            format!("a process like {pid}, which has more open files than roam-trace looks at")
                        });
                    }
                }
                Err(_) if process.is_alive() => {
                    let missing = privilege::missing_to_inspect();
                    unseen = Some(format!("a process that cannot be read: {missing}"));
                }
                Err(_) => {}
            }
        }
        if let Some(text) = unseen {
            let held: HashSet<u32> = self.found.keys().flat_map(|&(a, b)| [a, b]).collect();
            for Held { pid, .. } in self.unheld.values().flatten() {
                if !held.contains(pid) {
                    self.unseen.insert((*pid, text.clone()));
                }
            }
        }
    }

    /// A process that is no target holds a socket that targets are connected to.
    fn meet_other(&mut self, holder: u32, connected: &[Held]) {
        self.others
            .entry(holder)
            .or_insert_with(|| untraced::facts(holder));
        for &held in connected {
            if self.joins_left == 0 {
                break;
            }
            match self.holders.find_dead_maker(held, holder) {
                Some(dead) => {
                    self.others
                        .entry(dead)
                        .or_insert_with(|| untraced::facts_of_dead(dead));
                    self.join(held.pid, dead, held.via, Some(holder));
                }
                None => {
                    self.join(held.pid, holder, held.via, None);
                }
            }
        }
    }

    /// Notes that two processes are connected; `false` if that would be too many.
    fn join(&mut self, a: u32, b: u32, via: Via, held_by: Option<u32>) -> bool {
        if !self.has_room_for(1, &[a]) {
            return false;
        }
        self.found.insert((a.min(b), a.max(b)), (via, held_by));
        true
    }

    /// Any user can have as many sockets and as much shared memory in as many processes as there may be.
    fn has_room_for(&mut self, joins: usize, pids: &[u32]) -> bool {
        match self.joins_left.checked_sub(joins) {
            Some(left) => {
                self.joins_left = left;
                true
            }
            None => {
                self.cut.extend(pids);
                false
            }
        }
    }

    /// Joins the users of each file; where files have the same users, once.
    fn join_shared_memory(&mut self) {
        let mut users: HashMap<FileId, Vec<u32>> = HashMap::new();
        for inspected in &self.targets {
            for &file in &inspected.mappings.shared {
                users.entry(file).or_default().push(inspected.target.pid());
            }
        }
        let users: BTreeSet<_> = users.into_values().collect();
        for users in users {
            if !self.has_room_for(users.len() * (users.len() - 1) / 2, &users) {
                continue;
            }
            for (index, &a) in users.iter().enumerate() {
                for &b in &users[index + 1..] {
                    let pair = (a.min(b), a.max(b));
                    self.found.entry(pair).or_insert((Via::SharedMemory, None));
                }
            }
        }
    }

    fn target_pids(&self) -> HashSet<u32> {
        self.targets
            .iter()
            .map(|inspected| inspected.target.pid())
            .collect()
    }

    fn finish(self, transports: &Transports) -> Neighbourhood {
        let targets = self.target_pids();
        let mut neighbours: Vec<_> = self
            .found
            .into_iter()
            .map(|((a, b), (via, held_by))| {
                let (pid, peer) = if targets.contains(&a) { (a, b) } else { (b, a) };
                Neighbour {
                    pid,
                    peer: Peer::Process { pid: peer, held_by },
                    via,
                }
            })
            .collect();
        neighbours.extend(self.unseen.into_iter().map(|(pid, text)| Neighbour {
            pid,
            peer: Peer::Unseen(text),
            via: Via::Tcp,
        }));
        let mut inspected = self.targets;
        for inspected in &mut inspected {
            inspected.is_cut |= self.cut.contains(&inspected.target.pid());
        }
        let links = link_sockets::find(&mut inspected, &self.sockets, &self.holders, transports);
        let processes = (inspected.iter().map(Inspected::facts))
            .chain(self.others.into_values())
            .collect();
        Neighbourhood {
            neighbours,
            processes,
            links,
        }
    }
}
