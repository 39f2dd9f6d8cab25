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
use super::maps::FileId;
use super::proc::{self, Process};
use super::socket_table::SocketTable;
use super::sockets::SocketLister;
use super::target::Target;
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
    let mut search = Search::default();
    search.inspect(targets);
    search.list_sockets();
    search.follow_sockets();
    search.find_holders();
    search.join_shared_memory();
    search.finish(transports)
}

/// Returns the unread bytes of all sockets in the network namespaces of targets, by inode.
pub fn unread_bytes(targets: &[&Target]) -> HashMap<u64, u64> {
    let namespaces: HashMap<_, _> = targets
        .iter()
        .filter_map(|target| Some((target.process.read_link("ns/net").ok()?, target)))
        .collect();
    let listed = namespaces
        .values()
        .filter_map(|target| target.socket_lister().and_then(SocketLister::list).ok());
    listed
        .flatten()
        .map(|socket| (socket.inode, socket.unread_bytes))
        .collect()
}

#[derive(Default)]
struct Search<'a> {
    targets: Vec<Inspected<'a>>,
    sockets: SocketTable,
    holders: Holders,
    /// Sockets that no target holds, with the targets' that are connected to them.
    unheld: HashMap<u64, Vec<Held>>,
    found: BTreeMap<(u32, u32), (Via, Option<u32>)>,
    unseen: BTreeSet<(u32, String)>,
    others: BTreeMap<u32, ProcessFacts>,
}

impl<'a> Search<'a> {
    fn inspect(&mut self, targets: &[&'a Target]) {
        for &target in targets {
            let inspected = Inspected::new(target);
            for inode in inspected.descriptors.socket_inodes() {
                self.holders.add_target(inode, target.pid());
            }
            self.targets.push(inspected);
        }
    }

    /// The sockets of every network namespace that a target is in.
    fn list_sockets(&mut self) {
        let namespaces: HashMap<Vec<u8>, &Target> = self
            .targets
            .iter()
            .filter(|inspected| inspected.is_known)
            .map(|inspected| (inspected.namespace.clone(), inspected.target))
            .collect();
        for (number, (namespace, target)) in namespaces.into_iter().enumerate() {
            let listed = target.socket_lister().and_then(SocketLister::list);
            match listed {
                Ok(sockets) => {
                    for socket in sockets {
                        self.sockets.add(number, socket);
                    }
                }
                Err(error) => {
                    let name = String::from_utf8_lossy(&namespace).into_owned();
                    log::info!("cannot list the sockets of {name}: {error}");
                    for inspected in &mut self.targets {
                        inspected.is_known &= inspected.namespace != namespace;
                    }
                }
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
                if holder != held.pid || self.sockets.may_be_loopback(held.inode, peer) {
                    self.join(held.pid, holder, held.via, None);
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
        let mut is_everybody_seen = true;
        for pid in proc::pids().unwrap_or_default() {
            if targets.contains(&pid) {
                continue;
            }
            let Ok(process) = Process::open(pid) else {
                continue;
            };
            match Descriptors::of(&process) {
                Ok(descriptors) => {
                    for inode in descriptors.socket_inodes() {
                        if let Some(connected) = self.unheld.get(&inode) {
                            self.holders.add_other(inode, pid);
                            self.meet_other(pid, &connected.clone());
                        }
                    }
                }
                Err(_) => is_everybody_seen &= !process.is_alive(),
            }
        }
        if !is_everybody_seen {
            let held: HashSet<u32> = self.found.keys().flat_map(|&(a, b)| [a, b]).collect();
            for Held { pid, .. } in self.unheld.values().flatten() {
                if !held.contains(pid) {
                    let text = format!(
                        "a process that cannot be read: {}",
                        privilege::missing_to_inspect()
                    );
                    self.unseen.insert((*pid, text));
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
            match self.holders.find_dead_maker(held, holder) {
                Some(dead) => {
                    self.others
                        .entry(dead)
                        .or_insert_with(|| untraced::facts_of_dead(dead));
                    self.join(held.pid, dead, held.via, Some(holder));
                }
                None => self.join(held.pid, holder, held.via, None),
            }
        }
    }

    fn join(&mut self, a: u32, b: u32, via: Via, held_by: Option<u32>) {
        self.found.insert((a.min(b), a.max(b)), (via, held_by));
    }

    fn join_shared_memory(&mut self) {
        let mut users: HashMap<FileId, Vec<u32>> = HashMap::new();
        for inspected in &self.targets {
            for &file in &inspected.shared {
                users.entry(file).or_default().push(inspected.target.pid());
            }
        }
        for users in users.values() {
            for (index, &a) in users.iter().enumerate() {
                for &b in &users[index + 1..] {
                    self.found
                        .entry((a.min(b), a.max(b)))
                        .or_insert((Via::SharedMemory, None));
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
