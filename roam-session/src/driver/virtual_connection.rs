//! A peer's wish for a virtual connection, and the program's answer to it.

use roam_wire::Metadata;

use crate::runtime::{OneshotSender, Receiver, Sender, TrySendError, oneshot, spawn_anywhere};
use crate::{ConnectionHandle, ServiceDispatcher, TransportError};

/// The virtual connections that a peer wants to open. Once it is dropped, all of them are rejected.
pub type IncomingConnections = Receiver<IncomingConnection>;

/// A virtual connection that the peer wants to open and waits for. Dropped without an answer, it leaves
/// the peer waiting.
pub struct IncomingConnection {
    /// Key-value pairs to decide by.
    pub metadata: Metadata,
    pub(super) request_id: u64,
    pub(super) answers: Sender<Answer>,
}

/// What the program answers.
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
    /// Opens the connection. `dispatcher` serves what the peer calls over it; without one, the link's
    /// dispatcher does.
    ///
    /// # Errors
    ///
    /// When the link is gone.
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

    /// Tells the peer that there will be no connection, and why.
    pub fn reject(self, reason: String, metadata: Metadata) {
        let answer = Answer::Reject {
            request_id: self.request_id,
            reason,
            metadata,
        };
        if let Err(TrySendError::Full(answer)) = self.answers.try_send(answer) {
            spawn_anywhere(async move {
                // Without a link there is nobody to tell.
                let _ = self.answers.send(answer).await;
            });
        }
    }
}
