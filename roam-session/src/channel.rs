//! What a program does with a channel: create it, send, receive, and drop an end.

use std::marker::PhantomData;
use std::sync::Arc;

use facet::Facet;
use futures_util::FutureExt;
use roam_wire::ConnectionId;

use crate::dispatch::DispatchContext;
use crate::payload::encode;
use crate::record::{ChannelEnd, ChannelLink, ChannelTracker};
use crate::reflect::Half;
use crate::runtime::{self, Receiver, Sender, TrySendError};
use crate::slot::{DriverTxSlot, ReceiverSlot, SenderSlot};
use crate::{ChannelId, DriverMessage, Rx, Tx};

/// Items that the buffer of a channel holds. A sender waits while it is full.
const CHANNEL_ITEMS: usize = 1024;

/// Creates a channel. Pass one end to the peer as an argument of a call, and use the other end.
///
/// To send, pass the `Rx`; to receive, pass the `Tx`. The buffer holds 1,024 items. In a handler, the channel
/// already has an id of the handler's connection, so that the handler can return the `Rx`. Everywhere else the
/// channel gets its id from the call that it is passed in.
pub fn channel<T: 'static>() -> (Tx<T>, Rx<T>) {
    let (sender, receiver) = runtime::channel(CHANNEL_ITEMS);
    let (mut tx, mut rx) = match DispatchContext::current() {
        Some(context) => {
            let channel_id = context.channel_ids.next();
            debug!(channel_id, "made a channel of the request being handled");
            (
                Tx::bound(context.conn_id, channel_id, sender, context.driver_tx),
                Rx::bound(channel_id, receiver),
            )
        }
        None => (Tx::unbound(sender), Rx::unbound(receiver)),
    };
    let link = ChannelLink::default();
    tx.sender.end = Some(ChannelEnd::new(Half::Tx, Arc::clone(&link)));
    rx.receiver.end = Some(ChannelEnd::new(Half::Rx, link));
    (tx, rx)
}

impl<T: 'static> Tx<T> {
    fn with(
        conn_id: ConnectionId,
        channel_id: ChannelId,
        sender: SenderSlot,
        driver_tx: DriverTxSlot,
    ) -> Self {
        Self {
            conn_id,
            channel_id,
            sender,
            driver_tx,
            _marker: PhantomData,
        }
    }

    /// A `Tx` that has an id and nothing to send through, until it is bound.
    pub(crate) fn disconnected(channel_id: ChannelId) -> Self {
        let sender = SenderSlot::empty();
        Self::with(
            ConnectionId::ROOT,
            channel_id,
            sender,
            DriverTxSlot::empty(),
        )
    }

    /// Creates a `Tx` that puts its items into `tx`.
    pub fn new(channel_id: ChannelId, tx: Sender<Vec<u8>>) -> Self {
        let sender = SenderSlot::new(tx);
        Self::with(
            ConnectionId::ROOT,
            channel_id,
            sender,
            DriverTxSlot::empty(),
        )
    }

    /// Creates a `Tx` that puts its items into `tx` and has no id yet.
    pub fn unbound(tx: Sender<Vec<u8>>) -> Self {
        Self::new(0, tx)
    }

    /// Creates a `Tx` that puts its items into `tx`, or into the driver's queue once `tx` was taken out.
    pub fn bound(
        conn_id: ConnectionId,
        channel_id: ChannelId,
        tx: Sender<Vec<u8>>,
        driver_tx: Sender<DriverMessage>,
    ) -> Self {
        let sender = SenderSlot::new(tx);
        Self::with(conn_id, channel_id, sender, DriverTxSlot::new(driver_tx))
    }

    /// Returns the id of the channel, 0 before it is bound.
    pub fn channel_id(&self) -> ChannelId {
        self.channel_id
    }

    /// Sends an item, and waits while the queue is full.
    ///
    /// # Errors
    ///
    /// Fails if the item cannot be encoded, if the receiver is gone, or if this end was passed on in a call.
    // Through the sender first: a channel that was created in a handler and passed on in another call has a
    // new id there, which only the task that drains the sender knows.
    pub async fn send(&self, value: &T) -> Result<(), TxError>
    where
        T: Facet<'static>,
    {
        let payload = encode(&[], value).map_err(TxError::Serialize)?;
        if let Some(sender) = &self.sender.inner {
            return sender.send(payload).await.map_err(|_| TxError::Closed);
        }
        let Some(driver_tx) = &self.driver_tx.inner else {
            return Err(TxError::Taken);
        };
        let payload_bytes = payload.len();
        let data = DriverMessage::Data {
            conn_id: self.conn_id,
            channel_id: self.channel_id,
            payload,
        };
        driver_tx.send(data).await.map_err(|_| TxError::Closed)?;
        if let Some(tracker) = &self.driver_tx.tracker {
            tracker.sent(payload_bytes);
        }
        Ok(())
    }
}

/// Ends the channel. If a sender is left, the task that drains it sends the close.
impl<T: 'static> Drop for Tx<T> {
    fn drop(&mut self) {
        if self.sender.inner.is_none()
            && let Some(driver_tx) = self.driver_tx.inner.take()
        {
            let tracker = self.driver_tx.tracker.take();
            close(self.conn_id, self.channel_id, driver_tx, tracker);
        }
    }
}

fn close(
    conn_id: ConnectionId,
    channel_id: ChannelId,
    driver_tx: Sender<DriverMessage>,
    tracker: Option<Arc<ChannelTracker>>,
) {
    if let Some(tracker) = &tracker {
        tracker.close();
    }
    let close = DriverMessage::Close {
        conn_id,
        channel_id,
    };
    let enqueued = move || {
        if let Some(tracker) = tracker {
            tracker.enqueued();
        }
    };
    // Queued at once if there is room, so that the close goes before the response of a handler that drops
    // its `Tx`.
    match driver_tx.try_send(close) {
        Ok(()) => enqueued(),
        Err(TrySendError::Full(close)) => {
            let send = async move {
                if driver_tx.send(close).await.is_ok() {
                    enqueued();
                }
            };
            runtime::spawn_anywhere(send.boxed());
        }
        // Without a driver nobody waits for the close.
        Err(TrySendError::Closed(_)) => {}
    }
}

impl<T: 'static> Rx<T> {
    fn with(channel_id: ChannelId, receiver: ReceiverSlot) -> Self {
        Self {
            channel_id,
            receiver,
            _marker: PhantomData,
        }
    }

    /// An `Rx` that has an id and nothing to receive from, until it is bound.
    pub(crate) fn disconnected(channel_id: ChannelId) -> Self {
        Self::with(channel_id, ReceiverSlot::empty())
    }

    /// Creates an `Rx` that takes its items out of `rx`.
    pub fn new(channel_id: ChannelId, rx: Receiver<Vec<u8>>) -> Self {
        Self::with(channel_id, ReceiverSlot::new(rx))
    }

    /// Creates an `Rx` that takes its items out of `rx` and has no id yet.
    pub fn unbound(rx: Receiver<Vec<u8>>) -> Self {
        Self::new(0, rx)
    }

    /// Creates an `Rx` for a handler to return. The caller receives by its id.
    pub fn bound(channel_id: ChannelId, rx: Receiver<Vec<u8>>) -> Self {
        Self::new(channel_id, rx)
    }

    /// Returns the id of the channel, 0 before it is bound.
    pub fn channel_id(&self) -> ChannelId {
        self.channel_id
    }

    /// Receives an item, and waits until there is one. Returns `None` after the end of the channel.
    ///
    /// # Errors
    ///
    /// Fails if the item cannot be decoded, or if this end was passed on in a call.
    pub async fn recv(&mut self) -> Result<Option<T>, RxError>
    where
        T: Facet<'static>,
    {
        let receiver = self.receiver.inner.as_mut().ok_or(RxError::Taken)?;
        let Some(payload) = receiver.recv().await else {
            return Ok(None);
        };
        if let Some(tracker) = self.receiver.end.as_ref().and_then(ChannelEnd::tracker) {
            tracker.read();
        }
        facet_postcard::from_slice(&payload)
            .map(Some)
            .map_err(RxError::Deserialize)
    }
}

/// Says why an item was not sent.
#[derive(Debug, thiserror::Error)]
pub enum TxError {
    /// The item cannot be encoded.
    #[error("serialize error: {0}")]
    Serialize(facet_postcard::SerializeError),
    /// The receiver is gone.
    #[error("stream closed")]
    Closed,
    /// This end was passed on in a call.
    #[error("sender was taken")]
    Taken,
}

/// Says why an item was not received.
#[derive(Debug, thiserror::Error)]
pub enum RxError {
    /// The item cannot be decoded.
    #[error("deserialize error: {0}")]
    Deserialize(facet_postcard::DeserializeError<facet_postcard::PostcardError>),
    /// This end was passed on in a call.
    #[error("receiver was taken")]
    Taken,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also where the program dropped its runtime, or never had one on this thread.
    #[test]
    fn a_tx_that_is_dropped_outside_a_runtime_ends_its_channel() {
        let (driver_tx, mut queue) = runtime::channel(1);
        let root = ConnectionId::ROOT;
        let end = |channel_id| {
            let mut tx =
                Tx::<u8>::bound(root, channel_id, runtime::channel(1).0, driver_tx.clone());
            tx.sender.take();
            drop(tx);
        };
        for channel_id in 1..=3 {
            end(channel_id);
        }
        let mut closed: Vec<_> = (0..3)
            .map(|_| match queue.blocking_recv() {
                Some(DriverMessage::Close { channel_id, .. }) => channel_id,
                _ => panic!("no close"),
            })
            .collect();
        closed.sort_unstable();
        assert_eq!(closed, [1, 2, 3]);
    }
}
