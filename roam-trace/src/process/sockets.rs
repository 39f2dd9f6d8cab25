//! The connected sockets of a network namespace, as the kernel's sock_diag lists
//! them. Knows inodes and addresses, not processes.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::{fmt, io, thread};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::unix::nlas::Nla;
use netlink_packet_sock_diag::unix::{self, ShowFlags, UnixRequest};
use netlink_packet_sock_diag::{SockDiagMessage, inet};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use rustix::fs::OFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::proc::Process;

const OWN_NAMESPACE: &str = "/proc/self/ns/net";

/// A socket that is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectedSocket {
    /// Its inode, as `/proc/PID/fd` names it.
    pub inode: u64,
    /// What it is connected to.
    pub end: SocketEnd,
}

/// The other end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEnd {
    /// A unix socket, by its inode.
    Unix {
        /// The peer's inode.
        peer: u64,
    },
    /// TCP, by addresses.
    Tcp {
        /// The own one.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
}

/// Lists the connected sockets of one network namespace.
pub struct SocketLister(Socket);

impl fmt::Debug for SocketLister {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SocketLister").finish()
    }
}

impl SocketLister {
    /// Opens a lister in the network namespace of a process.
    ///
    /// # Errors
    ///
    /// The error of the system call: entering another namespace than this process's own takes CAP_SYS_ADMIN.
    pub fn open_in(process: &Process) -> io::Result<Self> {
        const NAMESPACE: &str = "ns/net";
        if process.read_link(NAMESPACE)?
            == std::fs::read_link(OWN_NAMESPACE)?.as_os_str().as_bytes()
        {
            return open().map(Self);
        }
        let namespace = process.open_file(NAMESPACE, OFlags::RDONLY)?;
        // A thread that entered a namespace ends in it; its socket stays there.
        thread::scope(|scope| {
            let entered = thread::Builder::new().spawn_scoped(scope, || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                open()
            })?;
            entered
                .join()
                .map_err(|_| io::Error::other("the thread panicked"))?
        })
        .map(Self)
    }

    /// Lists the sockets.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn list(&self) -> io::Result<Vec<ConnectedSocket>> {
        list(&self.0)
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn list(socket: &Socket) -> io::Result<Vec<ConnectedSocket>> {
    let mut sockets = Vec::new();
    let unix = UnixRequest {
        state_flags: unix::StateFlags::ESTABLISHED,
        inode: 0,
        show_flags: ShowFlags::PEER,
        cookie: [0xff; 8],
    };
    dump(socket, SockDiagMessage::UnixRequest(unix), &mut sockets)?;
    let ids = [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ];
    for (family, socket_id) in ids {
        let tcp = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            // One end may have closed its half already.
            states: StateFlags::ESTABLISHED
                | StateFlags::CLOSE_WAIT
                | StateFlags::FIN_WAIT1
                | StateFlags::FIN_WAIT2,
            socket_id,
        };
        match dump(socket, SockDiagMessage::InetRequest(tcp), &mut sockets) {
            // A kernel without IPv6.
            Err(error) if family == AF_INET6 => log::debug!("no IPv6 sockets: {error}"),
            result => result?,
        }
    }
    Ok(sockets)
}

fn dump(
    socket: &Socket,
    request: SockDiagMessage,
    sockets: &mut Vec<ConnectedSocket>,
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => sockets.extend(decode(&message)),
                _ => {}
            }
            // Messages are padded to four bytes; the last one may lack its padding.
            let length = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn decode(message: &SockDiagMessage) -> Option<ConnectedSocket> {
    match message {
        SockDiagMessage::UnixResponse(response) => {
            let peer = response.nlas.iter().find_map(|nla| match nla {
                Nla::Peer(peer) => Some(u64::from(*peer)),
                _ => None,
            })?;
            Some(ConnectedSocket {
                inode: response.header.inode.into(),
                end: SocketEnd::Unix { peer },
            })
        }
        SockDiagMessage::InetResponse(response) => {
            let inet::InetResponseHeader {
                socket_id, inode, ..
            } = &response.header;
            Some(ConnectedSocket {
                inode: (*inode).into(),
                end: SocketEnd::Tcp {
                    local: address(socket_id.source_address, socket_id.source_port),
                    remote: address(socket_id.destination_address, socket_id.destination_port),
                },
            })
        }
        _ => None,
    }
}

/// One address has one form: IPv4 in IPv6 is IPv4.
fn address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn inode(socket: &impl AsRawFd) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let link = link.to_str().unwrap();
        link["socket:[".len()..link.len() - 1].parse().unwrap()
    }

    fn end_of(inode: u64) -> SocketEnd {
        let own = Process::open(std::process::id()).unwrap();
        SocketLister::open_in(&own)
            .and_then(|lister| lister.list())
            .unwrap()
            .into_iter()
            .find(|socket| socket.inode == inode)
            .unwrap()
            .end
    }

    #[test]
    fn unix_sockets_name_their_peers() {
        let (a, b) = UnixStream::pair().unwrap();
        assert_eq!(end_of(inode(&a)), SocketEnd::Unix { peer: inode(&b) });
        assert_eq!(end_of(inode(&b)), SocketEnd::Unix { peer: inode(&a) });
    }

    #[test]
    fn tcp_sockets_name_their_addresses() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let canonical =
                |found: SocketAddr| SocketAddr::new(found.ip().to_canonical(), found.port());
            let (local, remote) = (
                canonical(client.local_addr().unwrap()),
                canonical(client.peer_addr().unwrap()),
            );
            assert_eq!(end_of(inode(&client)), SocketEnd::Tcp { local, remote });
            assert_eq!(
                end_of(inode(&server)),
                SocketEnd::Tcp {
                    local: remote,
                    remote: local
                }
            );
        }
    }
}
