//! A request of the peer for a virtual connection, and the program's answer.

use futures_util::FutureExt;
use roam_wire::Metadata;

use crate::runtime::{OneshotSender, Receiver, Sender, TrySendError, oneshot, spawn_anywhere};
use crate::{ConnectionHandle, ServiceDispatcher, TransportError};

/// Receives the peer's requests for virtual connections. Once it is dropped, all of them are rejected.
pub type IncomingConnections = Receiver<IncomingConnection>;

/// Asks the program to accept or reject a virtual connection. The peer waits for ever if it is dropped without
/// an answer.
pub struct IncomingConnection {
    /// Key-value pairs of the peer by which the program decides.
    pub metadata: Metadata,
    pub(super) request_id: u64,
    pub(super) answers: Sender<Answer>,
}

/// An answer of the program.
pub(super) enum Answer {
    Accept {
        request_id: u64,
        metadata: Metadata,
        dispatcher: Option<Box<dyn ServiceDispatcher>>,
        handle_tx: OneshotSender<Result<ConnectionHandle, TransportError>>,
    },
    Reject {
        request_id: u64,
        reason: String,
        metadata: Metadata,
    },
}

impl IncomingConnection {
    /// Accepts the connection and returns its handle. `dispatcher` serves the peer's calls over it; if `None`,
    /// the dispatcher of the link does. `metadata` goes to the peer.
    ///
    /// # Errors
    ///
    /// Fails if the link is gone.
    pub async fn accept(
        self,
        metadata: Metadata,
        dispatcher: Option<Box<dyn ServiceDispatcher>>,
    ) -> Result<ConnectionHandle, TransportError> {
        let (handle_tx, handle_rx) = oneshot();
        let answer = Answer::Accept {
            request_id: self.request_id,
            metadata,
            dispatcher,
            handle_tx,
        };
        self.answers
            .send(answer)
            .await
            .map_err(|_| TransportError::DriverGone)?;
        handle_rx.await.map_err(|_| TransportError::DriverGone)?
    }

    /// Rejects the connection. `reason` and `metadata` go to the peer.
    pub fn reject(self, reason: String, metadata: Metadata) {
        let answer = Answer::Reject {
            request_id: self.request_id,
            reason,
            metadata,
        };
        if let Err(TrySendError::Full(answer)) = self.answers.try_send(answer) {
            let send = async move {
                // Without a link nobody waits for the answer.
                let _ = self.answers.send(answer).await;
            };
            spawn_anywhere(send.boxed());
        }
    }
}
