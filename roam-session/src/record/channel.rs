//! The row of one channel.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use facet::Shape;
use roam_diagnostic::registry::{
    self, Channel, ChannelDirection, ChannelOpen, ChannelSide, Request,
};

use super::ConnectionTracker;
use crate::ChannelId;

/// Set in [`ChannelTracker::uses`] once the channel is closed.
const CLOSED: u32 = 1 << 31;

/// Owns the row of a channel.
///
/// A channel may be closed while somebody else just counts an item, and its row must not be touched
/// after it was given up: whoever leaves the row last gives it up.
pub(crate) struct ChannelTracker {
    row: Channel,
    connection: Weak<ConnectionTracker>,
    /// How many threads are at the row, and [`CLOSED`].
    uses: AtomicU32,
}

/// Joins the two ends of a pair made by [`channel`](crate::channel): binding one of them to a connection
/// tells the other which row it counts in.
pub(crate) type ChannelLink = Arc<OnceLock<Arc<ChannelTracker>>>;

impl ChannelTracker {
    /// `None` where the connection is closed or nothing is recorded.
    pub(crate) fn open(
        connection: &Weak<ConnectionTracker>,
        channel_id: ChannelId,
        side: ChannelSide,
        direction: ChannelDirection,
        element: Option<&'static Shape>,
        request: Request,
        receive_budget_bytes: u64,
    ) -> Option<Arc<Self>> {
        let connection = connection.upgrade()?;
        let row = Channel::open(&ChannelOpen {
            connection: connection.row(),
            channel_id,
            request,
            direction,
            side,
            type_index: element.map_or(0, type_index),
            receive_budget_bytes,
        });
        if row == Channel::NONE {
            return None;
        }
        let tracker = Arc::new(Self {
            row,
            connection: Arc::downgrade(&connection),
            uses: AtomicU32::new(0),
        });
        connection
            .add_channel(row.serial().0, Arc::downgrade(&tracker))
            .then_some(tracker)
    }

    pub(crate) fn sent(&self, payload_bytes: usize) {
        self.with_row(|row| row.sent(payload_bytes as u64));
    }

    pub(crate) fn received(&self, payload_bytes: usize, receive_budget_bytes: u32) {
        self.with_row(|row| row.received(payload_bytes as u64, receive_budget_bytes.into()));
    }

    pub(crate) fn read(&self) {
        self.with_row(Channel::read);
    }

    /// Ends the row. Later calls do nothing.
    pub(crate) fn close(&self) {
        if self.uses.fetch_or(CLOSED, Ordering::AcqRel) == 0 {
            self.release();
        }
    }

    fn with_row(&self, act: impl FnOnce(Channel)) {
        let entered = self
            .uses
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |uses| {
                (uses & CLOSED == 0).then_some(uses + 1)
            });
        if entered.is_err() {
            return;
        }
        act(self.row);
        if self.uses.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
            self.release();
        }
    }

    fn release(&self) {
        self.row.close();
        if let Some(connection) = self.connection.upgrade() {
            connection.forget_channel(self.row.serial().0);
        }
    }
}

impl Drop for ChannelTracker {
    fn drop(&mut self) {
        self.close();
    }
}

fn type_index(element: &'static Shape) -> u32 {
    registry::register_type(std::ptr::from_ref(element) as usize, || element.to_string())
}
