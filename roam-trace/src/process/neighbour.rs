//! Which processes a process is connected to: by sockets, followed through
//! sock_diag to the process that holds the other end, and by shared memory.
//!
//! A socket says nothing about roam; what is found here are candidates, and the
//! rows decide.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;

use nix::sys::socket::{getsockopt, sockopt};
use roam_dump::analysis::{Neighbour, Peer, ProcessFacts, Via};
use roam_dump::decode::printable;
use roam_dump::model::ProcessState;
use roam_trace_common::registry::REGION_NAME;
use rustix::fs::fstat;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::maps::{FileId, for_each_mapping};
use super::proc::{self, Process};
use super::program;
use super::sockets::{ConnectedSocket, SocketEnd, SocketLister};
use super::target::Target;
use crate::error::TargetError;
use crate::privilege;

/// Standard input, output and error, which lead to terminals and logs.
const STANDARD_DESCRIPTORS: i32 = 3;

/// What the targets are connected to.
#[derive(Debug, Default)]
pub struct Neighbourhood {
    /// The connections, each once.
    pub neighbours: Vec<Neighbour>,
    /// The targets, and processes at the other ends that are none.
    pub processes: Vec<ProcessFacts>,
}

/// Follows the sockets and the shared memory of targets to the processes at the other ends.
///
/// What cannot be read is left out: the facts of the target then state that not everything is known.
pub fn neighbourhood(targets: &[&Target]) -> Neighbourhood {
    let mut search = Search::default();
    for target in targets {
        search.inspect(target);
    }
    search.list_sockets();
    search.follow_sockets();
    search.find_holders();
    search.join_shared_memory();
    search.finish()
}

#[derive(Default)]
struct Search<'a> {
    targets: Vec<Inspected<'a>>,
    sockets: HashMap<u64, ConnectedSocket>,
    /// By own and peer's address.
    tcp: HashMap<(SocketAddr, SocketAddr), u64>,
    /// Targets by the sockets they hold.
    holders: HashMap<u64, Vec<u32>>,
    /// Sockets that no target holds, with the targets' that are connected to them.
    unheld: HashMap<u64, Vec<Held>>,
    found: BTreeMap<(u32, u32), (Via, Option<u32>)>,
    unseen: BTreeSet<(u32, String)>,
    others: BTreeMap<u32, ProcessFacts>,
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
    /// Descriptors and inodes.
    sockets: Vec<(i32, u64)>,
    shared: HashSet<FileId>,
    /// The name of its network namespace.
    namespace: Vec<u8>,
    is_known: bool,
}

impl<'a> Search<'a> {
    fn inspect(&mut self, target: &'a Target) {
        let process = &target.process;
        let sockets = socket_inodes(process);
        let shared = shared_files(process);
        let namespace = process.read_link("ns/net");
        let is_known = sockets.is_ok() && shared.is_ok() && namespace.is_ok();
        let sockets = sockets.unwrap_or_default();
        for &(_, inode) in &sockets {
            self.holders.entry(inode).or_default().push(target.pid());
        }
        self.targets.push(Inspected {
            target,
            sockets,
            shared: shared.unwrap_or_default(),
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
        for (namespace, target) in namespaces {
            let listed = target.socket_lister().and_then(SocketLister::list);
            match listed {
                Ok(sockets) => {
                    for socket in sockets {
                        if let SocketEnd::Tcp { local, remote } = socket.end {
                            self.tcp.insert((local, remote), socket.inode);
                        }
                        self.sockets.insert(socket.inode, socket);
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
        let mut unseen = BTreeSet::new();
        let mut met = Vec::new();
        for inspected in &self.targets {
            let pid = inspected.target.pid();
            for &(descriptor, inode) in &inspected.sockets {
                let Some(socket) = self.sockets.get(&inode) else {
                    continue;
                };
                let (peer, via) = match socket.end {
                    SocketEnd::Unix { peer } => (peer, Via::Unix),
                    SocketEnd::Tcp { local, remote } => match self.tcp.get(&(remote, local)) {
                        Some(&peer) => (peer, Via::Tcp),
                        None => {
                            let text = format!(
                                "at {remote}, on another machine or in another network namespace"
                            );
                            unseen.insert((pid, text));
                            continue;
                        }
                    },
                };
                let held = Held {
                    pid,
                    descriptor,
                    inode,
                    via,
                };
                met.push((peer, held));
            }
        }
        self.unseen = unseen;
        for (peer, held) in met {
            let Some(holders) = self.holders.get(&peer).cloned() else {
                self.unheld.entry(peer).or_default().push(held);
                continue;
            };
            for holder in holders {
                if holder != held.pid {
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
        let targets: HashSet<u32> = self
            .targets
            .iter()
            .map(|inspected| inspected.target.pid())
            .collect();
        let mut is_everybody_seen = true;
        for pid in proc::pids().unwrap_or_default() {
            if targets.contains(&pid) {
                continue;
            }
            let Ok(process) = Process::open(pid) else {
                continue;
            };
            match socket_inodes(&process) {
                Ok(inodes) => {
                    for (_, inode) in inodes {
                        if let Some(connected) = self.unheld.get(&inode) {
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
            .or_insert_with(|| other_process(holder));
        for &held in connected {
            match dead_peer(held, holder) {
                Some(dead) => {
                    self.others
                        .entry(dead)
                        .or_insert_with(|| other_facts(dead, ProcessState::Dead, String::new()));
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

    fn finish(self) -> Neighbourhood {
        let targets: HashSet<u32> = self
            .targets
            .iter()
            .map(|inspected| inspected.target.pid())
            .collect();
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
            .map(|inspected| ProcessFacts {
                process: inspected.target.label(),
                state: inspected.target.process.state(),
                threads: inspected.target.process.thread_states(),
                is_connectivity_known: inspected.is_known,
                descriptors: None,
                untraced: None,
            })
            .chain(self.others.into_values())
            .collect();
        Neighbourhood {
            neighbours,
            processes,
        }
    }
}

/// Lists the sockets that a process holds and their descriptors, but for the standard ones.
fn socket_inodes(process: &Process) -> io::Result<Vec<(i32, u64)>> {
    let mut inodes = Vec::new();
    for name in process.entries("fd")? {
        let Ok(descriptor) = name.parse() else {
            continue;
        };
        if descriptor < STANDARD_DESCRIPTORS {
            continue;
        }
        // A descriptor that was closed meanwhile has no link.
        let Ok(link) = process.read_link(&format!("fd/{name}")) else {
            continue;
        };
        if let Some(inode) = socket_inode(&link) {
            inodes.push((descriptor, inode));
        }
    }
    Ok(inodes)
}

/// Parses the link of a socket: `socket:[17]` is the one with inode 17.
pub fn socket_inode(link: &[u8]) -> Option<u64> {
    let inode = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inode).ok()?.parse().ok()
}

/// Lists the files that a process maps so that others see what it writes; the registry, which a forked child
/// still maps, is none of them.
fn shared_files(process: &Process) -> Result<HashSet<FileId>, TargetError> {
    let registry = format!("/memfd:{REGION_NAME}").into_bytes();
    let mut files = HashSet::new();
    for_each_mapping(process, |mapping| {
        if mapping.is_shared && mapping.file.inode != 0 && !mapping.path.starts_with(&registry) {
            files.insert(mapping.file);
        }
    })?;
    Ok(files)
}

/// Returns the process that made the other end of a unix socket, where it is dead and another holds that end.
///
/// The kernel remembers its pid and reports it to a holder of the socket: the descriptor is duplicated for the
/// moment of that question.
fn dead_peer(held: Held, holder: u32) -> Option<u32> {
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
    let peer = u32::try_from(peer).ok().filter(|&peer| peer != 0)?;
    (peer != holder && is_dead(peer)).then_some(peer)
}

/// Collects what is known of a process at the other end that is no target.
fn other_process(pid: u32) -> ProcessFacts {
    let target = match Target::find(pid) {
        Ok(target) => target,
        Err(error) => return other_facts(pid, ProcessState::Alive, error.to_string()),
    };
    let reason = match target.has_registry() {
        Ok(true) => "name it with -p, or use --all".to_owned(),
        Ok(false) => why_untraced(&target),
        Err(error) => error.to_string(),
    };
    other_facts(pid, target.process.state(), reason)
}

fn why_untraced(target: &Target) -> String {
    let has_probes = target.probed().is_ok_and(|probed| !probed.is_empty());
    let is_published = || {
        program::binaries(&target.process)
            .is_ok_and(|binaries| program::is_built_on_published(&binaries))
    };
    if has_probes {
        "it has no registry of its own".to_owned()
    } else if is_published() {
        "it is built with the published roam-session, which reports nothing".to_owned()
    } else {
        "it has no registry and no sign of roam-session".to_owned()
    }
}

fn is_dead(pid: u32) -> bool {
    matches!(
        Process::open(pid),
        Err(TargetError::NoSuchProcess { .. }
            | TargetError::Zombie { .. }
            | TargetError::Ended { .. })
    )
}

fn other_facts(pid: u32, life: ProcessState, untraced: String) -> ProcessFacts {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    ProcessFacts {
        process: roam_dump::model::Process {
            pid,
            name: printable(name.trim_ascii_end()),
        },
        state: life,
        threads: BTreeMap::new(),
        is_connectivity_known: false,
        descriptors: None,
        untraced: Some(untraced),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_sockets() {
        for (link, expected) in [
            (&b"socket:[17]"[..], Some(17)),
            (b"socket:[x]", None),
            (b"socket:[17", None),
            (b"pipe:[17]", None),
            (b"/tmp/socket:[17]", None),
            (b"\xff", None),
        ] {
            assert_eq!(socket_inode(link), expected);
        }
    }
}
