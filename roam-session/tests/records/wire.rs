//! A transport in memory whose writes can be held up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use roam_session::MessageTransport;
use roam_wire::Message;
use tokio::sync::{Semaphore, mpsc};

/// One end of a transport.
pub(crate) struct Wire {
    to_peer: mpsc::UnboundedSender<Message>,
    from_peer: mpsc::UnboundedReceiver<Message>,
    gate: Gate,
}

/// Lets an end's writes through.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    fn open() -> Self {
        Self(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
    }

    /// Holds up every write from now on.
    pub(crate) fn close(&self) {
        self.0.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets every write through again.
    pub(crate) fn reopen(&self) {
        self.0.add_permits(Semaphore::MAX_PERMITS);
    }
}

/// Two ends that are connected.
pub(crate) fn pair() -> (Wire, Wire) {
    let (to_right, from_left) = mpsc::unbounded_channel();
    let (to_left, from_right) = mpsc::unbounded_channel();
    let end = |to_peer, from_peer| Wire {
        to_peer,
        from_peer,
        gate: Gate::open(),
    };
    (end(to_right, from_right), end(to_left, from_left))
}

impl Wire {
    pub(crate) fn gate(&self) -> Gate {
        self.gate.clone()
    }
}

impl MessageTransport for Wire {
    async fn send(&mut self, msg: &Message) -> io::Result<()> {
        let permit = self.gate.0.acquire().await.map_err(io::Error::other)?;
        let sent = self.to_peer.send(msg.clone());
        drop(permit);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn recv_timeout(&mut self, timeout: Duration) -> io::Result<Option<Message>> {
        match tokio::time::timeout(timeout, self.from_peer.recv()).await {
            Ok(received) => Ok(received),
            Err(_) => Ok(None),
        }
    }

    async fn recv(&mut self) -> io::Result<Option<Message>> {
        Ok(self.from_peer.recv().await)
    }

    fn last_decoded(&self) -> &[u8] {
        &[]
    }
}
