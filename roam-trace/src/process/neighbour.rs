//! Which processes a process is connected to: by sockets, followed through
//! sock_diag to the process that holds the other end, and by shared memory.
//!
//! A socket says nothing about roam; what is found here are candidates, and the
//! rows decide. Which socket a connection uses is looked up in the memory of its
//! transport.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{iter, mem};

use nix::sys::socket::{getsockopt, sockopt};
use roam_dump::analysis::{Neighbour, Peer, ProcessFacts, TransportSocket, Via};
use roam_dump::model::SocketUnknown;
use roam_trace_common::registry::REGION_NAME;
use rustix::fs::fstat;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::claims::{Found, TransportObject};
use super::descriptors::{self, Descriptors};
use super::maps::{FileId, for_each_mapping};
use super::proc::{self, Process};
use super::sockets::{ConnectedSocket, SocketEnd, SocketLister};
use super::target::Target;
use super::transport::{OwnMemory, find_descriptors};
use super::untraced;
use crate::error::TargetError;
use crate::privilege;

/// How long the memory of one process may take to be searched, and that of all together.
const PROCESS_SEARCH: Duration = Duration::from_secs(1);
const WHOLE_SEARCH: Duration = Duration::from_secs(2);

/// Transports by pid and serial of the root connection.
pub type Transports = HashMap<(u32, u64), TransportObject>;

/// What the targets are connected to.
#[derive(Debug, Default)]
pub struct Neighbourhood {
    /// The connections, each once.
    pub neighbours: Vec<Neighbour>,
    /// The targets, and processes at the other ends that are none.
    pub processes: Vec<ProcessFacts>,
    /// The sockets that transports may use.
    pub transports: HashMap<(u32, u64), Vec<TransportSocket>>,
    /// Why there is none.
    pub unknown_sockets: HashMap<(u32, u64), SocketUnknown>,
    /// Who is at the other ends of those sockets, by inode.
    pub socket_peers: HashMap<u64, Vec<Peer>>,
}

/// Follows the sockets and the shared memory of targets to the processes at the other ends, and looks for the
/// sockets of their transports.
///
/// What cannot be read is left out: the facts of the target then state that not everything is known.
pub fn neighbourhood(targets: &[&Target], transports: &Transports) -> Neighbourhood {
    let mut search = Search::default();
    for target in targets {
        search.inspect(target);
    }
    search.list_sockets();
    search.follow_sockets();
    search.find_holders();
    search.join_shared_memory();
    search.find_transports(transports);
    search.finish()
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

/// The ends of a TCP connection, and the network namespace where the addresses mean nothing elsewhere.
type TcpKey = (Option<usize>, SocketAddr, SocketAddr);

#[derive(Default)]
struct Search<'a> {
    targets: Vec<Inspected<'a>>,
    /// With the number of their network namespace.
    sockets: HashMap<u64, (usize, ConnectedSocket)>,
    /// By own and peer's address; `None` where several network namespaces have a socket with these.
    tcp: HashMap<TcpKey, Option<u64>>,
    /// Targets by the sockets they hold.
    holders: HashMap<u64, Vec<u32>>,
    /// Sockets that no target holds, with the targets' that are connected to them.
    unheld: HashMap<u64, Vec<Held>>,
    /// Other processes by the sockets among those that they hold.
    other_holders: HashMap<u64, Vec<u32>>,
    /// The dead processes that made the other ends of targets' sockets.
    dead_makers: HashMap<u64, u32>,
    /// The parent of every process, once it was asked for.
    parents: OnceCell<HashMap<u32, u32>>,
    found: BTreeMap<(u32, u32), (Via, Option<u32>)>,
    unseen: BTreeSet<(u32, String)>,
    others: BTreeMap<u32, ProcessFacts>,
    transports: HashMap<(u32, u64), Vec<TransportSocket>>,
    unknown_sockets: HashMap<(u32, u64), SocketUnknown>,
    socket_peers: HashMap<u64, Vec<Peer>>,
}

/// A socket that a target holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    pid: u32,
    descriptor: i32,
    inode: u64,
    via: Via,
}

/// A target and what it holds.
struct Inspected<'a> {
    target: &'a Target,
    descriptors: Descriptors,
    shared: HashSet<FileId>,
    memory: OwnMemory,
    /// The name of its network namespace.
    namespace: Vec<u8>,
    is_known: bool,
}

impl<'a> Search<'a> {
    fn inspect(&mut self, target: &'a Target) {
        let process = &target.process;
        let descriptors = Descriptors::of(process);
        let mappings = mappings(process);
        let namespace = process.read_link("ns/net");
        let is_known = descriptors.is_ok() && mappings.is_ok() && namespace.is_ok();
        let descriptors = descriptors.unwrap_or_default();
        for inode in descriptors.socket_inodes() {
            self.holders.entry(inode).or_default().push(target.pid());
        }
        let (shared, memory) = mappings.unwrap_or_default();
        self.targets.push(Inspected {
            target,
            descriptors,
            shared,
            memory,
            namespace: namespace.unwrap_or_default(),
            is_known,
        });
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
                        self.add_socket(number, socket);
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

    fn add_socket(&mut self, namespace: usize, socket: ConnectedSocket) {
        if let SocketEnd::Tcp { local, remote } = socket.end {
            let key = tcp_key(namespace, local, remote);
            let known = self.tcp.entry(key).or_insert(Some(socket.inode));
            *known = known.filter(|&inode| inode == socket.inode);
        }
        self.sockets.insert(socket.inode, (namespace, socket));
    }

    /// The inode at the other end of a connected socket, or why it is not known, as text.
    fn peer_inode(&self, namespace: usize, end: SocketEnd) -> Result<u64, String> {
        match end {
            SocketEnd::Unix { peer } => Ok(peer),
            SocketEnd::Tcp { local, remote } => {
                let peer = self.tcp.get(&tcp_key(namespace, remote, local));
                peer.copied().flatten().ok_or_else(|| {
                    format!("at {remote}, on another machine or in another network namespace")
                })
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
                let Some((namespace, socket)) = self.sockets.get(&inode) else {
                    continue;
                };
                let held = Held {
                    pid,
                    descriptor,
                    inode,
                    via: via(socket.end),
                };
                match self.peer_inode(*namespace, socket.end) {
                    Ok(peer) => met.push((peer, held)),
                    Err(text) => drop(self.unseen.insert((pid, text))),
                }
            }
        }
        for (peer, held) in met {
            let Some(holders) = self.holders.get(&peer).cloned() else {
                self.unheld.entry(peer).or_default().push(held);
                continue;
            };
            for holder in holders {
                if holder != held.pid || self.may_be_loopback(held.inode, peer) {
                    self.join(held.pid, holder, held.via, None);
                }
            }
        }
    }

    /// Whether two sockets of one process may be the ends of a connection to itself, and are not a pair without
    /// names, as runtimes have them for themselves.
    fn may_be_loopback(&self, a: u64, b: u64) -> bool {
        let has_address = |inode| {
            self.sockets.get(&inode).is_some_and(|(_, socket)| {
                socket.path.is_some() || matches!(socket.end, SocketEnd::Tcp { .. })
            })
        };
        has_address(a) || has_address(b)
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
                            self.other_holders.entry(inode).or_default().push(pid);
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
            match dead_maker(held) {
                Some(dead) if dead != holder => {
                    self.others
                        .entry(dead)
                        .or_insert_with(|| untraced::facts_of_dead(dead));
                    self.dead_makers.insert(held.inode, dead);
                    self.join(held.pid, dead, held.via, Some(holder));
                }
                _ => self.join(held.pid, holder, held.via, None),
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

    /// The sockets that each transport may use, and who is at their other ends.
    fn find_transports(&mut self, transports: &Transports) {
        let mut objects: HashMap<u32, Vec<(u64, TransportObject)>> = HashMap::new();
        for (&(pid, serial), &object) in transports {
            objects.entry(pid).or_default().push((serial, object));
        }
        let until = Instant::now() + WHOLE_SEARCH;
        let mut targets = mem::take(&mut self.targets);
        for inspected in &mut targets {
            let Some(objects) = objects.remove(&inspected.target.pid()) else {
                continue;
            };
            let limit = PROCESS_SEARCH.min(until.saturating_duration_since(Instant::now()));
            self.find_transports_of(inspected, objects, limit);
        }
        self.targets = targets;
    }

    fn find_transports_of(
        &mut self,
        inspected: &mut Inspected<'_>,
        objects: Vec<(u64, TransportObject)>,
        limit: Duration,
    ) {
        let pid = inspected.target.pid();
        if !inspected.is_known {
            let unknown = objects.iter().map(|&(serial, _)| (pid, serial));
            let unknown = unknown.map(|key| (key, SocketUnknown::Unreadable));
            self.unknown_sockets.extend(unknown);
            return;
        }
        let sockets: HashMap<i32, u64> = (inspected.descriptors.sockets.iter().copied())
            .filter(|(_, inode)| {
                let socket = self.sockets.get(inode);
                socket.is_some_and(|(_, socket)| socket.is_ordered)
            })
            .collect();
        let found = find_descriptors(
            &inspected.target.process,
            mem::take(&mut inspected.memory),
            objects,
            sockets.keys().copied().collect(),
            limit,
        );
        for (serial, found) in found {
            let key = (pid, serial);
            match found {
                Ok(descriptors) => {
                    let found = descriptors
                        .into_iter()
                        .filter_map(|found| {
                            self.transport_socket(pid, found, *sockets.get(&found.descriptor)?)
                        })
                        .collect();
                    self.transports.insert(key, found);
                }
                Err(why) => drop(self.unknown_sockets.insert(key, why)),
            }
        }
    }

    fn transport_socket(
        &mut self,
        pid: u32,
        Found {
            descriptor,
            is_in_place,
        }: Found,
        inode: u64,
    ) -> Option<TransportSocket> {
        let (namespace, socket) = self.sockets.get(&inode)?;
        let peer_inode = self.peer_inode(*namespace, socket.end);
        let peer = (peer_inode.as_ref().ok())
            .and_then(|peer| self.sockets.get(peer))
            .map(|(_, socket)| socket);
        let (local, remote, unsent_bytes) = match socket.end {
            SocketEnd::Tcp { local, remote } => (
                Some(Arc::from(local.to_string())),
                Some(Arc::from(remote.to_string())),
                socket.unsent_bytes,
            ),
            SocketEnd::Unix { .. } => (
                socket.path.clone(),
                peer.and_then(|peer| peer.path.clone()),
                peer.map_or(0, |peer| peer.unread_bytes),
            ),
        };
        let found = TransportSocket {
            descriptor,
            inode,
            peer_inode: peer_inode.as_ref().ok().copied(),
            is_in_place,
            via: via(socket.end),
            local,
            remote,
            unread_bytes: socket.unread_bytes,
            unsent_bytes,
            carried_bytes: socket.carried_bytes,
        };
        if !self.socket_peers.contains_key(&inode) {
            let held = Held {
                pid,
                descriptor,
                inode,
                via: found.via,
            };
            let peers = match peer_inode {
                Ok(peer) => self.peers_by_socket(held, peer),
                Err(text) => vec![Peer::Unseen(text)],
            };
            self.socket_peers.insert(inode, peers);
        }
        Some(found)
    }

    /// Who is at the other end of a socket, `peer`: of several that hold it, the one that made it, or the one that
    /// the others were forked from.
    fn peers_by_socket(&self, held: Held, peer: u64) -> Vec<Peer> {
        let process = |pid, held_by| vec![Peer::Process { pid, held_by }];
        let holders = self.holders.get(&peer);
        let holders = holders.or_else(|| self.other_holders.get(&peer));
        match holders.map_or(&[][..], Vec::as_slice) {
            [] => Vec::new(),
            &[holder] => match self.dead_makers.get(&held.inode) {
                Some(&dead) => process(dead, Some(holder)),
                None => process(holder, None),
            },
            holders => match maker(held)
                .filter(|maker| holders.contains(maker))
                .or_else(|| self.common_ancestor(holders))
            {
                Some(pid) => process(pid, None),
                None => (holders.iter())
                    .map(|&pid| Peer::Process { pid, held_by: None })
                    .collect(),
            },
        }
    }

    /// The one of several processes that all others descend from.
    fn common_ancestor(&self, pids: &[u32]) -> Option<u32> {
        let parents = self
            .parents
            .get_or_init(|| proc::parents().unwrap_or_default());
        let is_below = |pid: u32, ancestor: u32| {
            let parent = |pid: &u32| parents.get(pid).copied();
            // Pids that were given away meanwhile may make a cycle.
            let mut line = iter::successors(Some(pid), parent).take(parents.len() + 1);
            line.any(|pid| pid == ancestor)
        };
        let mut ancestors = pids.iter().copied();
        ancestors.find(|&ancestor| pids.iter().all(|&pid| is_below(pid, ancestor)))
    }

    fn target_pids(&self) -> HashSet<u32> {
        self.targets
            .iter()
            .map(|inspected| inspected.target.pid())
            .collect()
    }

    fn finish(self) -> Neighbourhood {
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
        let processes = self
            .targets
            .iter()
            .map(|inspected| {
                let process = &inspected.target.process;
                let count = inspected.descriptors.count;
                ProcessFacts {
                    process: inspected.target.label(),
                    state: process.state(),
                    threads: process.thread_states(),
                    is_connectivity_known: inspected.is_known,
                    descriptors: (descriptors::limit(process).filter(|_| count > 0))
                        .map(|limit| (count, limit)),
                    untraced: None,
                }
            })
            .chain(self.others.into_values())
            .collect();
        Neighbourhood {
            neighbours,
            processes,
            transports: self.transports,
            unknown_sockets: self.unknown_sockets,
            socket_peers: self.socket_peers,
        }
    }
}

/// The addresses of a loopback device are the same in every network namespace.
fn tcp_key(namespace: usize, local: SocketAddr, remote: SocketAddr) -> TcpKey {
    let is_local = local.ip().is_loopback() || remote.ip().is_loopback();
    (is_local.then_some(namespace), local, remote)
}

fn via(end: SocketEnd) -> Via {
    match end {
        SocketEnd::Unix { .. } => Via::Unix,
        SocketEnd::Tcp { .. } => Via::Tcp,
    }
}

/// Lists the files that a process maps so that others see what it writes, and the memory that it alone writes. The
/// registry, which a forked child still maps, is none of those files.
fn mappings(process: &Process) -> Result<(HashSet<FileId>, OwnMemory), TargetError> {
    let registry = format!("/memfd:{REGION_NAME}").into_bytes();
    let mut files = HashSet::new();
    let mut memory = OwnMemory::default();
    for_each_mapping(process, |mapping| {
        if mapping.is_shared && mapping.file.inode != 0 && !mapping.path.starts_with(&registry) {
            files.insert(mapping.file);
        }
        if mapping.is_own_memory() {
            memory.add(mapping.start..mapping.end);
        }
    })?;
    Ok((files, memory))
}

/// Returns the process that made the other end of a unix socket, if it is dead.
fn dead_maker(held: Held) -> Option<u32> {
    maker(held).filter(|&maker| untraced::is_dead(maker))
}

/// Returns the process that made the other end of a unix socket.
///
/// The kernel remembers its pid and reports it to a holder of the socket: the descriptor is duplicated for the
/// moment of that question.
fn maker(held: Held) -> Option<u32> {
    if held.via != Via::Unix {
        return None;
    }
    let pid = Pid::from_raw(i32::try_from(held.pid).ok()?)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let socket = pidfd_getfd(&process, held.descriptor, PidfdGetfdFlags::empty()).ok()?;
    if fstat(&socket).ok()?.st_ino != held.inode {
        return None;
    }
    // 0 where it was in a pid namespace that this process does not see.
    let peer = getsockopt(&socket, sockopt::PeerCredentials).ok()?.pid();
    u32::try_from(peer).ok().filter(|&peer| peer != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sockets by namespace, own and peer's address, with inodes from 1 on; the first one's peer.
    fn check_peer(sockets: &[(usize, &str, &str)], expected: Option<u64>) {
        let mut search = Search::default();
        for (inode, &(namespace, local, remote)) in (1..).zip(sockets) {
            let [local, remote] = [local, remote].map(|address| address.parse().unwrap());
            let socket = ConnectedSocket {
                inode,
                end: SocketEnd::Tcp { local, remote },
                is_ordered: true,
                path: None,
                unread_bytes: 0,
                unsent_bytes: 0,
                carried_bytes: None,
            };
            search.add_socket(namespace, socket);
        }
        let (namespace, socket) = &search.sockets[&1];
        assert_eq!(search.peer_inode(*namespace, socket.end).ok(), expected);
    }

    #[test]
    fn a_peer_has_the_same_addresses_and_no_other_has() {
        let (a, b) = ("10.0.0.1:4000", "10.0.0.2:80");
        check_peer(&[(0, a, b), (0, b, a)], Some(2));
        check_peer(&[(0, a, b), (1, b, a)], Some(2));
        check_peer(&[(0, a, b)], None);
        check_peer(&[(0, a, b), (1, b, a), (2, b, a)], None);
        let (a, b) = ("127.0.0.1:4000", "127.0.0.1:80");
        check_peer(&[(0, a, b), (0, b, a), (1, b, a)], Some(2));
        check_peer(&[(0, a, b), (1, b, a)], None);
    }

    #[test]
    fn the_ancestor_of_all() {
        let parents = [(2, 1), (5, 2), (6, 5), (7, 2), (8, 9), (9, 8)];
        let search = Search {
            parents: OnceCell::from(HashMap::from(parents)),
            ..Search::default()
        };
        for (pids, expected) in [
            (&[5, 6][..], Some(5)),
            (&[6, 5], Some(5)),
            (&[5, 6, 7], None),
            (&[2, 6, 7], Some(2)),
            (&[7, 8], None),
        ] {
            assert_eq!(search.common_ancestor(pids), expected, "{pids:?}");
        }
    }
}
