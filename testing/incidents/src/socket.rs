//! Sockets, and what both ends of a connection tell each other before roam's handshake: the truth about who is
//! connected with whom.

use std::io;
use std::os::fd::AsRawFd;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::node::Node;
use crate::witness::ConnectionLine;

/// Bytes of an introduction.
const INTRODUCTION: usize = 128;

/// What the end of a link tells the other end of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Introduction {
    pub(crate) process: String,
    pub(crate) pid: u32,
    pub(crate) inode: u64,
    /// The connection's number, of the end that opened it.
    pub(crate) number: u32,
    /// How often that end had opened it before.
    pub(crate) again: u32,
}

impl Introduction {
    /// What the connection is called, by the process at its other end.
    pub(crate) fn name(&self, peer: &str) -> String {
        match self.again {
            0 => format!("{peer}/{}", self.number),
            again => format!("{peer}/{}#{again}", self.number),
        }
    }
}

/// A stream socket.
pub(crate) trait Socket:
    AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + Sync + 'static
{
    const VIA: &'static str;

    /// Address or path of this and of the other end.
    fn addresses(&self) -> [Option<String>; 2];
}

impl Socket for TcpStream {
    const VIA: &'static str = "tcp";

    fn addresses(&self) -> [Option<String>; 2] {
        [self.local_addr(), self.peer_addr()].map(|address| Some(address.ok()?.to_string()))
    }
}

impl Socket for UnixStream {
    const VIA: &'static str = "unix";

    fn addresses(&self) -> [Option<String>; 2] {
        [self.local_addr(), self.peer_addr()].map(|address| {
            let address = address.ok()?;
            Some(address.as_pathname()?.display().to_string())
        })
    }
}

/// How one process reaches another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Unix,
    Tcp,
}

/// Connects to another process by its TCP address.
pub(crate) async fn tcp(node: &Node, server: &str) -> io::Result<TcpStream> {
    let port = std::fs::read_to_string(node.directory.join(format!("{server}.port")))?;
    let port: u16 = port.parse().map_err(io::Error::other)?;
    TcpStream::connect(("127.0.0.1", port)).await
}

/// The same by its unix socket.
pub(crate) async fn unix(node: &Node, server: &str) -> io::Result<UnixStream> {
    UnixStream::connect(node.directory.join(format!("{server}.sock"))).await
}

fn inode(socket: &impl AsRawFd) -> io::Result<u64> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()))?;
    let text = link.to_string_lossy();
    let inode = text
        .strip_prefix("socket:[")
        .and_then(|rest| rest.strip_suffix(']'));
    inode
        .and_then(|inode| inode.parse().ok())
        .ok_or_else(|| io::Error::other("not a socket"))
}

async fn write(socket: &mut impl Socket, introduction: &Introduction) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(introduction)?;
    bytes.resize(INTRODUCTION, b' ');
    socket.write_all(&bytes).await
}

async fn read(socket: &mut impl Socket) -> io::Result<Introduction> {
    let mut bytes = [0; INTRODUCTION];
    socket.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Introduces the end that connects. Returns what the log says of the connection.
pub(crate) async fn greet(
    node: &Node,
    socket: &mut impl Socket,
    server: &str,
    number: u32,
    again: u32,
) -> io::Result<ConnectionLine> {
    let own = Introduction {
        process: node.name.clone(),
        pid: node.witness.pid,
        inode: inode(socket)?,
        number,
        again,
    };
    write(socket, &own).await?;
    let peer = read(socket).await?;
    Ok(line(socket, &own, &peer, own.name(server), true))
}

/// Introduces the end that accepts.
pub(crate) async fn answer(
    node: &Node,
    socket: &mut impl Socket,
) -> io::Result<(Introduction, ConnectionLine)> {
    let peer = read(socket).await?;
    let own = Introduction {
        process: node.name.clone(),
        pid: node.witness.pid,
        inode: inode(socket)?,
        ..peer.clone()
    };
    write(socket, &own).await?;
    let name = format!("from {}", peer.name(&peer.process));
    let line = line(socket, &own, &peer, name, false);
    Ok((peer, line))
}

fn line<S: Socket>(
    socket: &S,
    own: &Introduction,
    peer: &Introduction,
    name: String,
    initiator: bool,
) -> ConnectionLine {
    let [local, remote] = socket.addresses();
    let peer_name = match initiator {
        true => format!("from {}", own.name(&own.process)),
        false => own.name(&own.process),
    };
    ConnectionLine {
        name,
        open: true,
        initiator,
        via: S::VIA,
        descriptor: socket.as_raw_fd(),
        inode: own.inode,
        local,
        remote,
        peer_pid: peer.pid,
        peer_inode: peer.inode,
        peer_name,
    }
}
