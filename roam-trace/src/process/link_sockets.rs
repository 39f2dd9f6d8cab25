//! The sockets that the links of targets may use, looked up in the memory of their transports, and who is at the other
//! ends of those.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roam_dump::analysis::{Peer, TransportSocket};
use roam_dump::model::SocketUnknown;

use super::claims::{Found, TransportObject};
use super::holders::{Held, Holders};
use super::inspected::Inspected;
use super::socket_table::SocketTable;
use super::sockets::SocketEnd;
use super::transport::find_descriptors;

/// How long the memory of one process may take to be searched, and that of all together.
const PROCESS_SEARCH: Duration = Duration::from_secs(1);
const WHOLE_SEARCH: Duration = Duration::from_secs(2);

/// Transports by pid and serial of the root connection.
pub type Transports = HashMap<(u32, u64), TransportObject>;

/// The sockets that links may use.
#[derive(Debug, Default)]
pub struct LinkSockets {
    /// By pid and serial of the root connection.
    pub sockets: HashMap<(u32, u64), Vec<TransportSocket>>,
    /// Why there is none.
    pub unknown: HashMap<(u32, u64), SocketUnknown>,
    /// Who is at the other ends of the sockets, by inode.
    pub peers: HashMap<u64, Vec<Peer>>,
}

/// Searches the memory of all targets.
pub(super) fn find(
    targets: &mut [Inspected<'_>],
    table: &SocketTable,
    holders: &Holders,
    transports: &Transports,
) -> LinkSockets {
    let mut objects: HashMap<u32, Vec<(u64, TransportObject)>> = HashMap::new();
    for (&(pid, serial), &object) in transports {
        objects.entry(pid).or_default().push((serial, object));
    }
    let mut search = Search {
        table,
        holders,
        found: LinkSockets::default(),
    };
    let until = Instant::now() + WHOLE_SEARCH;
    for inspected in targets {
        if let Some(objects) = objects.remove(&inspected.target.pid()) {
            let limit = PROCESS_SEARCH.min(until.saturating_duration_since(Instant::now()));
            search.target(inspected, objects, limit);
        }
    }
    search.found
}

struct Search<'a> {
    table: &'a SocketTable,
    holders: &'a Holders,
    found: LinkSockets,
}

impl Search<'_> {
    fn target(
        &mut self,
        inspected: &mut Inspected<'_>,
        objects: Vec<(u64, TransportObject)>,
        limit: Duration,
    ) {
        let pid = inspected.target.pid();
        if !inspected.is_known {
            let unknown = objects.iter().map(|&(serial, _)| (pid, serial));
            let unknown = unknown.map(|key| (key, SocketUnknown::Unreadable));
            self.found.unknown.extend(unknown);
            return;
        }
        let sockets: HashMap<i32, u64> = (inspected.descriptors.sockets.iter().copied())
            .filter(|&(_, inode)| {
                let listed = self.table.get(inode);
                listed.is_some_and(|listed| listed.socket.is_ordered)
            })
            .collect();
        let found = find_descriptors(
            &inspected.target.process,
            Arc::clone(&inspected.mappings),
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
                            self.socket(pid, found, *sockets.get(&found.descriptor)?)
                        })
                        .collect();
                    self.found.sockets.insert(key, found);
                }
                Err(why) => drop(self.found.unknown.insert(key, why)),
            }
        }
    }

    fn socket(
        &mut self,
        pid: u32,
        Found {
            descriptor,
            is_in_place,
        }: Found,
        inode: u64,
    ) -> Option<TransportSocket> {
        let listed = self.table.get(inode)?;
        let socket = &listed.socket;
        let peer_inode = self.table.peer_inode(listed);
        let peer = (peer_inode.as_ref().ok())
            .and_then(|&peer| self.table.get(peer))
            .map(|listed| &listed.socket);
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
            via: listed.via(),
            local,
            remote,
            unread_bytes: socket.unread_bytes,
            unsent_bytes,
            carried_bytes: socket.carried_bytes,
        };
        self.found.peers.entry(inode).or_insert_with(|| {
            let held = Held {
                pid,
                descriptor,
                inode,
                via: found.via,
            };
            match peer_inode {
                Ok(peer) => self.holders.peers(held, peer),
                Err(text) => vec![Peer::Unseen(text)],
            }
        });
        Some(found)
    }
}
