//! The row of one channel.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use facet::Shape;
use roam_diagnostic::registry::{
    self, Channel, ChannelDirection, ChannelOpen, ChannelSide, Request,
};

use super::connection::{ConnectionTracker, EndsWithConnection};
use crate::ChannelId;
use crate::reflect::Half;

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

/// Joins the two ends of a pair made by [`channel`](crate::channel). Once one of them is bound to a
/// connection, the other one counts in the same row.
pub(crate) type ChannelLink = Arc<OnceLock<Arc<ChannelTracker>>>;

/// One end of a channel that the program holds. When it is dropped, the row shows that this end is gone.
pub(crate) struct ChannelEnd {
    half: Half,
    link: Option<ChannelLink>,
}

impl ChannelEnd {
    pub(crate) fn new(half: Half, link: ChannelLink) -> Self {
        Self {
            half,
            link: Some(link),
        }
    }

    /// Of a channel that is bound already.
    pub(crate) fn bound(half: Half, tracker: Arc<ChannelTracker>) -> Self {
        Self::new(half, Arc::new(tracker.into()))
    }

    /// The program gave the end away: it is not gone.
    pub(crate) fn give_away(mut self) -> Option<ChannelLink> {
        self.link.take()
    }

    pub(crate) fn tracker(&self) -> Option<&ChannelTracker> {
        Some(self.link.as_ref()?.get()?)
    }
}

impl Drop for ChannelEnd {
    fn drop(&mut self) {
        if let Some(tracker) = self.tracker() {
            tracker.with_row(match self.half {
                Half::Tx => Channel::writer_gone,
                Half::Rx => Channel::reader_gone,
            });
        }
    }
}

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
        let dependent: Weak<Self> = Arc::downgrade(&tracker);
        connection
            .add_channel(row.serial().0, dependent)
            .then_some(tracker)
    }

    /// An item went into the driver's queue.
    pub(crate) fn sent(&self, payload_bytes: usize) {
        self.with_row(|row| row.sent(payload_bytes as u64));
        self.enqueued();
    }

    /// Something about the channel went into the driver's queue.
    pub(crate) fn enqueued(&self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.enqueued();
        }
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

impl EndsWithConnection for ChannelTracker {
    fn connection_closed(&self) {
        self.close();
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
