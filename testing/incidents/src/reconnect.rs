//! A client that reconnects: roam's own, over boxed streams, with a name and a line in the log for each connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use roam::session::ConnectionHandle;
use roam::session::{FramedClient, RetryPolicy, connect_framed_with_policy};
use roam_stream::{CobsFramed, HandshakeConfig, MessageConnector, NoDispatcher};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::node::Node;
use crate::service::{Method, Ticket, invoke};
use crate::socket::{self, Socket, Via};
use crate::witness::{ConnectionLine, lock};

/// A client of one connection of a pool.
#[derive(Clone)]
pub(crate) struct Reconnecting {
    client: FramedClient<Connector, NoDispatcher>,
    state: Arc<State>,
}

struct State {
    node: Arc<Node>,
    server: String,
    number: u32,
    via: Via,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    name: String,
    connected: u32,
    /// How often a connection was named.
    named: u32,
}

struct Connector(Arc<State>);

impl Reconnecting {
    pub(crate) fn new(
        node: &Arc<Node>,
        server: &str,
        number: u32,
        via: Via,
        policy: RetryPolicy,
    ) -> Self {
        let state = Arc::new(State {
            node: node.clone(),
            server: server.to_owned(),
            number,
            via,
            current: Mutex::default(),
        });
        let connector = Connector(state.clone());
        let config = HandshakeConfig::default();
        Self {
            client: connect_framed_with_policy(connector, config, NoDispatcher, policy),
            state,
        }
    }

    /// The name of the latest connection.
    pub(crate) fn name(&self) -> String {
        lock(&self.state.current).name.clone()
    }

    pub(crate) async fn connect(&self) -> Result<(), String> {
        let handle = self.client.handle().await;
        self.name_connection(&handle.map_err(|error| format!("{error:?}"))?);
        Ok(())
    }

    pub(crate) async fn invoke(&self, method: Method, ticket: Ticket) -> Result<u64, String> {
        // So that a new connection gets its name; that there is none is the call's affair.
        let _ = self.connect().await;
        invoke(self.client.clone(), method, ticket).await
    }

    fn name_connection(&self, handle: &ConnectionHandle) {
        let mut current = lock(&self.state.current);
        if current.named != current.connected {
            current.named = current.connected;
            handle.set_diagnostic_name(&current.name);
        }
    }
}

impl MessageConnector for Connector {
    type Transport = CobsFramed<Box<dyn Stream>>;

    async fn connect(&self) -> io::Result<Self::Transport> {
        let state = &*self.0;
        let stream: Box<dyn Stream> = match state.via {
            Via::Unix => {
                let socket = socket::unix(&state.node, &state.server).await?;
                state.opened(socket).await?
            }
            Via::Tcp => {
                let socket = socket::tcp(&state.node, &state.server).await?;
                state.opened(socket).await?
            }
        };
        Ok(CobsFramed::new(stream))
    }
}

impl State {
    async fn opened<S: Socket>(&self, mut socket: S) -> io::Result<Box<dyn Stream>> {
        let again = lock(&self.current).connected;
        let line = socket::greet(&self.node, &mut socket, &self.server, self.number, again).await?;
        self.node.witness.connection(&line);
        let mut current = lock(&self.current);
        current.connected += 1;
        current.name.clone_from(&line.name);
        let node = self.node.clone();
        Ok(Box::new(Logged { line, socket, node }))
    }
}

/// A byte stream of any kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: Socket> Stream for Logged<S> {}

/// A socket that logs when it is closed.
struct Logged<S> {
    line: ConnectionLine,
    socket: S,
    node: Arc<Node>,
}

impl<S> Drop for Logged<S> {
    fn drop(&mut self) {
        self.line.open = false;
        self.node.witness.connection(&self.line);
    }
}

impl<S: Socket> AsyncRead for Logged<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

impl<S: Socket> AsyncWrite for Logged<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
