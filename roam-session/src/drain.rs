//! A task that takes items out of a queue and sends them to the peer: the items of
//! an `Rx` that was passed in a call, or of a channel that a proxy forwards.

use std::sync::Arc;

use roam_wire::ConnectionId;

use crate::record::ChannelTracker;
use crate::runtime::{self, Receiver, Sender};
use crate::{ChannelId, DriverMessage};

/// Where the items of one channel go.
pub(crate) struct Drain {
    pub(crate) conn_id: ConnectionId,
    pub(crate) channel_id: ChannelId,
    pub(crate) driver_tx: Sender<DriverMessage>,
    pub(crate) tracker: Option<Arc<ChannelTracker>>,
}

impl Drain {
    /// Sends what comes out of `items` until that ends, then ends the channel and calls `ended`.
    ///
    /// If the driver is gone, the task reads the items all the same, so that their sender does not wait for
    /// room.
    pub(crate) fn spawn(self, mut items: Receiver<Vec<u8>>, ended: impl FnOnce() + Send + 'static) {
        let Self {
            conn_id,
            channel_id,
            driver_tx,
            tracker,
        } = self;
        runtime::spawn(async move {
            while let Some(payload) = items.recv().await {
                let payload_bytes = payload.len();
                let data = DriverMessage::Data {
                    conn_id,
                    channel_id,
                    payload,
                };
                if driver_tx.send(data).await.is_ok()
                    && let Some(tracker) = &tracker
                {
                    tracker.sent(payload_bytes);
                }
            }
            if let Some(tracker) = &tracker {
                tracker.close();
            }
            ended();
            let close = DriverMessage::Close {
                conn_id,
                channel_id,
            };
            if driver_tx.send(close).await.is_ok()
                && let Some(tracker) = tracker
            {
                tracker.enqueued();
            }
        });
    }
}
