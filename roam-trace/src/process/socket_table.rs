//! The sockets of all network namespaces that targets are in, and which two of them are connected.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use roam_dump::analysis::Via;

use super::sockets::{ConnectedSocket, SocketEnd};

/// The ends of a TCP connection, and the network namespace where the addresses mean nothing elsewhere.
type TcpKey = (Option<usize>, SocketAddr, SocketAddr);

/// A socket, and the number of its network namespace.
#[derive(Debug)]
pub(super) struct ListedSocket {
    pub(super) socket: ConnectedSocket,
    namespace: usize,
}

impl ListedSocket {
    pub(super) fn via(&self) -> Via {
        match self.socket.end {
            SocketEnd::Unix { .. } => Via::Unix,
            SocketEnd::Tcp { .. } => Via::Tcp,
        }
    }

    fn has_address(&self) -> bool {
        self.socket.path.is_some() || matches!(self.socket.end, SocketEnd::Tcp { .. })
    }
}

/// All sockets, by inode.
#[derive(Debug, Default)]
pub(super) struct SocketTable {
    sockets: HashMap<u64, ListedSocket>,
    /// By own and peer's address; `None` where several network namespaces have a socket with these.
    tcp: HashMap<TcpKey, Option<u64>>,
}

impl SocketTable {
    pub(super) fn add(&mut self, namespace: usize, socket: ConnectedSocket) {
        if let SocketEnd::Tcp { local, remote } = socket.end {
            let key = tcp_key(namespace, local, remote);
            let known = self.tcp.entry(key).or_insert(Some(socket.inode));
            *known = known.filter(|&inode| inode == socket.inode);
        }
        let inode = socket.inode;
        self.sockets
            .insert(inode, ListedSocket { socket, namespace });
    }

    pub(super) fn get(&self, inode: u64) -> Option<&ListedSocket> {
        self.sockets.get(&inode)
    }

    /// The inode at the other end of a socket, or why it is not known, as text.
    pub(super) fn peer_inode(&self, listed: &ListedSocket) -> Result<u64, String> {
        match listed.socket.end {
            SocketEnd::Unix { peer } => Ok(peer),
            SocketEnd::Tcp { local, remote } => {
                let peer = self.tcp.get(&tcp_key(listed.namespace, remote, local));
                peer.copied().flatten().ok_or_else(|| {
                    format!("at {remote}, on another machine or in another network namespace")
                })
            }
        }
    }

    /// Own and peer's addresses of the TCP sockets whose peer is not in the table.
    pub(super) fn tcp_without_peer(&self) -> HashSet<(SocketAddr, SocketAddr)> {
        let listed = self.sockets.values();
        let ends = listed.filter_map(|listed| match listed.socket.end {
            SocketEnd::Tcp { local, remote } if self.peer_inode(listed).is_err() => {
                Some((local, remote))
            }
            SocketEnd::Tcp { .. } | SocketEnd::Unix { .. } => None,
        });
        ends.collect()
    }

    /// Whether two sockets of one process may be the ends of a connection to itself, and are not a pair without
    /// names, as runtimes have them for themselves.
    pub(super) fn may_be_loopback(&self, a: u64, b: u64) -> bool {
        [a, b]
            .into_iter()
            .any(|inode| self.get(inode).is_some_and(ListedSocket::has_address))
    }
}

/// The addresses of a loopback device are the same in every network namespace.
fn tcp_key(namespace: usize, local: SocketAddr, remote: SocketAddr) -> TcpKey {
    let is_local = local.ip().is_loopback() || remote.ip().is_loopback();
    (is_local.then_some(namespace), local, remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sockets by namespace, own and peer's address, with inodes from 1 on; the first one's peer.
    fn check_peer(sockets: &[(usize, &str, &str)], expected: Option<u64>) {
        let mut table = SocketTable::default();
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
            table.add(namespace, socket);
        }
        let first = table.get(1).unwrap();
        assert_eq!(table.peer_inode(first).ok(), expected);
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
}
