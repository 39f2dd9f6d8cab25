//! The connected sockets of a network namespace, as the kernel's sock_diag lists
//! them. Knows inodes and addresses, not processes.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::{fmt, io, thread};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DGRAM};
use netlink_packet_sock_diag::inet::nlas::Nla as InetNla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::unix::nlas::{Nla as UnixNla, UnixDiagName};
use netlink_packet_sock_diag::unix::{self, ShowFlags, UnixRequest};
use netlink_packet_sock_diag::{SockDiagMessage, inet};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use roam_dump::decode::printable;
use rustix::fs::OFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::proc::Process;

const OWN_NAMESPACE: &str = "/proc/self/ns/net";

/// Where `struct tcp_info` of linux/tcp.h counts the bytes that the peer acknowledged and those that came from it.
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;

/// A socket that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedSocket {
    /// Its inode, as `/proc/PID/fd` names it.
    pub inode: u64,
    /// What it is connected to.
    pub end: SocketEnd,
    /// Whether what it carries arrives in order, as a transport needs it.
    pub is_ordered: bool,
    /// Path of a unix socket that has one, printable; an abstract one starts with `@`.
    pub path: Option<Arc<str>>,
    /// Bytes that have arrived and were not read.
    pub unread_bytes: u64,
    /// Of TCP: bytes that were written and not acknowledged.
    pub unsent_bytes: u64,
    /// Of TCP: bytes that were written and that arrived so far.
    pub carried_bytes: Option<(u64, u64)>,
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

    /// Lists those of the sockets that are to be kept: any user can have any number of them.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn list(
        &self,
        mut keep: impl FnMut(&ConnectedSocket) -> bool,
    ) -> io::Result<Vec<ConnectedSocket>> {
        let mut sockets = Vec::new();
        let mut keep = |socket: ConnectedSocket| {
            if keep(&socket) {
                sockets.push(socket);
            }
        };
        list_unix(&self.0, &mut keep)?;
        list_tcp(&self.0, &mut keep)?;
        Ok(sockets)
    }

    /// Lists those of the unix sockets that are to be kept.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn list_unix(
        &self,
        mut keep: impl FnMut(&ConnectedSocket) -> bool,
    ) -> io::Result<Vec<ConnectedSocket>> {
        let mut sockets = Vec::new();
        list_unix(&self.0, &mut |socket| {
            if keep(&socket) {
                sockets.push(socket);
            }
        })?;
        Ok(sockets)
    }

    /// Lists those of the TCP sockets that are to be kept.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn list_tcp(
        &self,
        mut keep: impl FnMut(&ConnectedSocket) -> bool,
    ) -> io::Result<Vec<ConnectedSocket>> {
        let mut sockets = Vec::new();
        list_tcp(&self.0, &mut |socket| {
            if keep(&socket) {
                sockets.push(socket);
            }
        })?;
        Ok(sockets)
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn list_unix(socket: &Socket, found: &mut impl FnMut(ConnectedSocket)) -> io::Result<()> {
    let unix = UnixRequest {
        state_flags: unix::StateFlags::ESTABLISHED,
        inode: 0,
        show_flags: ShowFlags::PEER | ShowFlags::NAME | ShowFlags::RQLEN,
        cookie: [0xff; 8],
    };
    dump(socket, SockDiagMessage::UnixRequest(unix), found)
}

fn list_tcp(socket: &Socket, found: &mut impl FnMut(ConnectedSocket)) -> io::Result<()> {
    let ids = [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ];
    for (family, socket_id) in ids {
        let tcp = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::INFO,
            // One end may have closed its half already.
            states: StateFlags::ESTABLISHED
                | StateFlags::CLOSE_WAIT
                | StateFlags::FIN_WAIT1
                | StateFlags::FIN_WAIT2,
            socket_id,
        };
        match dump(socket, SockDiagMessage::InetRequest(tcp), found) {
            // A kernel without IPv6.
            Err(error) if family == AF_INET6 => log::debug!("no IPv6 sockets: {error}"),
            result => result?,
        }
    }
    Ok(())
}

fn dump(
    socket: &Socket,
    request: SockDiagMessage,
    found: &mut impl FnMut(ConnectedSocket),
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
            let length = NetlinkBuffer::new_checked(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
                .length();
            match NetlinkMessage::<SockDiagMessage>::deserialize(rest).map(|found| found.payload) {
                Ok(NetlinkPayload::Done(_)) => return Ok(()),
                Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                Ok(NetlinkPayload::InnerMessage(message)) => {
                    decode(&message).into_iter().for_each(&mut *found)
                }
                Ok(_) => {}
                // The name of one socket, which is its program's choice, must not hide all others.
                Err(error) => log::info!("a socket is left out: {error}"),
            }
            // Messages are padded to four bytes; the last one may lack its padding.
            let length = (length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn decode(message: &SockDiagMessage) -> Option<ConnectedSocket> {
    match message {
        SockDiagMessage::UnixResponse(response) => decode_unix(response),
        SockDiagMessage::InetResponse(response) => Some(decode_tcp(response)),
        _ => None,
    }
}

/// `None` for a socket whose peer is gone.
fn decode_unix(response: &unix::UnixResponse) -> Option<ConnectedSocket> {
    let (mut peer, mut path, mut unread_bytes) = (None, None, 0);
    for nla in &response.nlas {
        match nla {
            UnixNla::Peer(inode) => peer = Some(u64::from(*inode)),
            UnixNla::Name(UnixDiagName::Pathname(name)) => path = Some(printable(name.as_bytes())),
            UnixNla::Name(UnixDiagName::Abstract(name)) => {
                path = Some(format!("@{}", printable(name)));
            }
            // What is called the send queue counts the kernel's memory, not bytes.
            UnixNla::ReceiveQueueLength(bytes, _) => unread_bytes = u64::from(*bytes),
            _ => {}
        }
    }
    Some(ConnectedSocket {
        inode: response.header.inode.into(),
        end: SocketEnd::Unix { peer: peer? },
        is_ordered: response.header.kind != SOCK_DGRAM,
        path: path.map(Arc::from),
        unread_bytes,
        unsent_bytes: 0,
        carried_bytes: None,
    })
}

fn decode_tcp(response: &inet::InetResponse) -> ConnectedSocket {
    let header = &response.header;
    let id = &header.socket_id;
    let info = response.nlas.iter().find_map(|nla| match nla {
        InetNla::TcpInfo(bytes) => Some(bytes),
        _ => None,
    });
    let unsent_bytes = u64::from(header.send_queue);
    ConnectedSocket {
        inode: header.inode.into(),
        end: SocketEnd::Tcp {
            local: address(id.source_address, id.source_port),
            remote: address(id.destination_address, id.destination_port),
        },
        is_ordered: true,
        path: None,
        unread_bytes: header.recv_queue.into(),
        unsent_bytes,
        carried_bytes: info.and_then(|info| {
            let [acked, received] = [BYTES_ACKED, BYTES_RECEIVED].map(|at| {
                let bytes = info.get(at..at + size_of::<u64>())?;
                Some(u64::from_ne_bytes(bytes.try_into().ok()?))
            });
            Some((acked?.saturating_add(unsent_bytes), received?))
        }),
    }
}

/// One address has one form: IPv4 in IPv6 is IPv4.
fn address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn inode(socket: &impl AsRawFd) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let link = link.to_str().unwrap();
        link["socket:[".len()..link.len() - 1].parse().unwrap()
    }

    fn socket(inode: u64) -> ConnectedSocket {
        let own = Process::open(std::process::id()).unwrap();
        SocketLister::open_in(&own)
            .and_then(|lister| lister.list(|socket| socket.inode == inode))
            .unwrap()
            .remove(0)
    }

    fn end_of(inode: u64) -> SocketEnd {
        socket(inode).end
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

    #[test]
    fn unix_sockets_have_names_and_unread_bytes() {
        let name = format!("roam-trace\x1b-{}", std::process::id());
        let address = UnixAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let mut client = UnixStream::connect_addr(&address).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(&[7; 300]).unwrap();
        let (client, server) = (socket(inode(&client)), socket(inode(&server)));
        let path = server.path.unwrap();
        assert!(
            path.starts_with("@roam-trace") && !path.contains('\x1b'),
            "{path}"
        );
        assert_eq!((server.unread_bytes, client.unread_bytes), (300, 0));
        assert!(client.path.is_none() && client.is_ordered);
        let (datagrams, _peer) = UnixDatagram::pair().unwrap();
        assert!(!socket(inode(&datagrams)).is_ordered);
    }

    #[test]
    fn tcp_sockets_count_what_they_carry() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(&[7; 300]).unwrap();
        let (client, server) = (socket(inode(&client)), socket(inode(&server)));
        assert_eq!(server.unread_bytes, 300);
        // The start of the connection counts as a byte.
        let (sent, received) = client.carried_bytes.unwrap();
        assert!(
            (300..=301).contains(&sent) && received == 0,
            "{sent} {received}"
        );
        assert_eq!(server.carried_bytes.unwrap().1, 300);
    }
}
