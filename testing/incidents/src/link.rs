//! Links: sockets, what both ends tell each other before roam's handshake, and the log of it.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use roam::session::ConnectionHandle;
use roam_stream::{CobsFramed, HandshakeConfig, initiate_framed};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::app::{App, Link, Target};
use crate::handlers;
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
pub(crate) async fn tcp(app: &App, server: &str) -> io::Result<TcpStream> {
    let port = std::fs::read_to_string(app.directory.join(format!("{server}.port")))?;
    let port: u16 = port.parse().map_err(io::Error::other)?;
    TcpStream::connect(("127.0.0.1", port)).await
}

/// The same by its unix socket.
pub(crate) async fn unix(app: &App, server: &str) -> io::Result<UnixStream> {
    UnixStream::connect(app.directory.join(format!("{server}.sock"))).await
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
    app: &App,
    socket: &mut impl Socket,
    server: &str,
    number: u32,
    again: u32,
) -> io::Result<ConnectionLine> {
    let own = Introduction {
        process: app.name.clone(),
        pid: app.witness.pid,
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
    app: &App,
    socket: &mut impl Socket,
) -> io::Result<(Introduction, ConnectionLine)> {
    let peer = read(socket).await?;
    let own = Introduction {
        process: app.name.clone(),
        pid: app.witness.pid,
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

/// Opens a connection to a process, as one of a pool. A task drives it; without the task it is closed.
pub(crate) async fn connect<S: Socket>(
    app: &Arc<App>,
    mut socket: S,
    server: &str,
    pool: &str,
    number: u32,
) -> Result<(ConnectionHandle, JoinHandle<()>)> {
    let line = greet(app, &mut socket, server, number, 0).await?;
    let name: Arc<str> = line.name.as_str().into();
    let open = Open::new(app, pool, line);
    let (handle, _no_virtual_connections, driver) = initiate_framed(
        CobsFramed::new(socket),
        HandshakeConfig::default(),
        handlers::services(app, &name),
    )
    .await
    .with_context(|| format!("no handshake with {server}"))?;
    open.add_link(number, &handle);
    let driving = async move {
        let _ = driver.run().await;
        drop(open);
    };
    Ok((handle, tokio::spawn(driving)))
}

/// Serves a connection until it closes.
pub(crate) async fn serve<S: Socket>(
    app: Arc<App>,
    socket: S,
    (peer, line): (Introduction, ConnectionLine),
) {
    let services = handlers::services(&app, &line.name.as_str().into());
    let open = Open::new(&app, &peer.process, line);
    let accepted = roam_stream::accept(socket, HandshakeConfig::default(), services).await;
    // A peer that went away meanwhile is its own affair.
    if let Ok((handle, _no_virtual_connections, driver)) = accepted {
        open.add_link(peer.number, &handle);
        drop(handle);
        let _ = driver.run().await;
    }
}

/// A connection that is logged as open, and one of a pool, until this is dropped.
struct Open {
    app: Arc<App>,
    pool: String,
    line: ConnectionLine,
}

impl Open {
    fn new(app: &Arc<App>, pool: &str, line: ConnectionLine) -> Self {
        app.witness.connection(&line);
        Self {
            app: app.clone(),
            pool: pool.to_owned(),
            line,
        }
    }

    fn add_link(&self, number: u32, handle: &ConnectionHandle) {
        handle.set_diagnostic_name(&self.line.name);
        let target = Target::Once(self.line.name.as_str().into(), handle.clone());
        self.app.add_link(&self.pool, Link { number, target });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.app.remove_link(&self.pool, &self.line.name);
        self.line.open = false;
        self.app.witness.connection(&self.line);
    }
}
