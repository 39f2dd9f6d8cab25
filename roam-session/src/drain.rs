//! A task that takes items out of a queue and sends them to the peer: the items of
//! an `Rx` that was passed in a call, or of a channel that a proxy forwards.

use std::sync::Arc;

use futures_util::FutureExt;
use roam_wire::ConnectionId;

use crate::record::ChannelTracker;
use crate::runtime::{self, Receiver, Sender};
use crate::{ChannelId, DriverMessage};

/// Where the items of one channel come from and go to.
pub(crate) struct Drain {
    pub(crate) items: Receiver<Vec<u8>>,
    pub(crate) conn_id: ConnectionId,
    pub(crate) channel_id: ChannelId,
    pub(crate) driver_tx: Sender<DriverMessage>,
    pub(crate) tracker: Option<Arc<ChannelTracker>>,
    /// Of a channel that a proxy forwards: its other leg, which ends with it.
    pub(crate) other_leg: Option<Arc<ChannelTracker>>,
}

impl Drain {
    /// Sends what comes out of `items` until that ends, then ends the channel.
    ///
    /// If the driver is gone, the task reads the items all the same, so that their sender does not wait for
    /// room.
    pub(crate) fn spawn(self) {
        runtime::spawn(self.run().boxed());
    }

    async fn run(mut self) {
        while let Some(payload) = self.items.recv().await {
            let payload_bytes = payload.len();
            let data = DriverMessage::Data {
                conn_id: self.conn_id,
                channel_id: self.channel_id,
                payload,
            };
            if self.driver_tx.send(data).await.is_ok()
                && let Some(tracker) = &self.tracker
            {
                tracker.sent(payload_bytes);
            }
        }
        for tracker in [&self.tracker, &self.other_leg].into_iter().flatten() {
            tracker.close();
        }
        let close = DriverMessage::Close {
            conn_id: self.conn_id,
            channel_id: self.channel_id,
        };
        if self.driver_tx.send(close).await.is_ok()
            && let Some(tracker) = &self.tracker
        {
            tracker.enqueued();
        }
    }
}
