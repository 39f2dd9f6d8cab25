//! Places in a `Tx` or `Rx` that binding fills: reflection can replace their
//! content, and nothing else looks inside.

use std::sync::Arc;

use facet::Facet;

use crate::DriverMessage;
use crate::record::{ChannelEnd, ChannelTracker};
use crate::reflect::Half;
use crate::runtime::{Receiver, Sender};

/// The sending end of a `Tx` whose items somebody else sends on, if it has one.
#[derive(Facet)]
#[facet(opaque)]
pub struct SenderSlot {
    pub(crate) inner: Option<Sender<Vec<u8>>>,
    pub(crate) end: Option<ChannelEnd>,
}

impl SenderSlot {
    /// A slot with a sender in it.
    pub fn new(tx: Sender<Vec<u8>>) -> Self {
        Self {
            inner: Some(tx),
            end: None,
        }
    }

    /// A slot with nothing in it.
    pub fn empty() -> Self {
        Self {
            inner: None,
            end: None,
        }
    }

    /// Takes the sender out.
    pub fn take(&mut self) -> Option<Sender<Vec<u8>>> {
        self.end.take().map(ChannelEnd::give_away);
        self.inner.take()
    }

    /// Whether a sender is in it.
    pub fn is_some(&self) -> bool {
        self.inner.is_some()
    }

    /// Whether nothing is in it.
    pub fn is_none(&self) -> bool {
        self.inner.is_none()
    }

    /// Puts a sender in, in place of what was there.
    pub fn set(&mut self, tx: Sender<Vec<u8>>) {
        self.inner = Some(tx);
    }
}

/// The driver's queue, for a `Tx` that sends its items itself, if it has one.
#[derive(Facet)]
#[facet(opaque)]
pub struct DriverTxSlot {
    pub(crate) inner: Option<Sender<DriverMessage>>,
    pub(crate) tracker: Option<Arc<ChannelTracker>>,
}

impl DriverTxSlot {
    /// A slot with a driver's queue in it.
    pub fn new(tx: Sender<DriverMessage>) -> Self {
        Self {
            inner: Some(tx),
            tracker: None,
        }
    }

    /// A slot with nothing in it.
    pub fn empty() -> Self {
        Self {
            inner: None,
            tracker: None,
        }
    }

    /// Takes the queue out.
    pub fn take(&mut self) -> Option<Sender<DriverMessage>> {
        self.inner.take()
    }

    /// Whether a queue is in it.
    pub fn is_some(&self) -> bool {
        self.inner.is_some()
    }

    /// Whether nothing is in it.
    pub fn is_none(&self) -> bool {
        self.inner.is_none()
    }

    /// Puts a queue in, in place of what was there.
    pub fn set(&mut self, tx: Sender<DriverMessage>) {
        self.inner = Some(tx);
    }

    /// Another sender into the queue, if there is one in it.
    pub fn clone_inner(&self) -> Option<Sender<DriverMessage>> {
        self.inner.clone()
    }
}

/// The receiving end of an `Rx`, if it has one.
#[derive(Facet)]
#[facet(opaque)]
pub struct ReceiverSlot {
    pub(crate) inner: Option<Receiver<Vec<u8>>>,
    pub(crate) end: Option<ChannelEnd>,
}

impl ReceiverSlot {
    /// A slot with a receiver in it.
    pub fn new(rx: Receiver<Vec<u8>>) -> Self {
        Self {
            inner: Some(rx),
            end: None,
        }
    }

    /// A slot with nothing in it.
    pub fn empty() -> Self {
        Self {
            inner: None,
            end: None,
        }
    }

    /// Takes the receiver out.
    pub fn take(&mut self) -> Option<Receiver<Vec<u8>>> {
        self.end.take().map(ChannelEnd::give_away);
        self.inner.take()
    }

    /// Whether a receiver is in it.
    pub fn is_some(&self) -> bool {
        self.inner.is_some()
    }

    /// Whether nothing is in it.
    pub fn is_none(&self) -> bool {
        self.inner.is_none()
    }

    /// Puts a receiver in, in place of what was there.
    pub fn set(&mut self, rx: Receiver<Vec<u8>>) {
        self.inner = Some(rx);
    }

    /// Puts in the receiver of a channel that was just opened.
    pub(crate) fn bind(&mut self, rx: Receiver<Vec<u8>>, tracker: Option<Arc<ChannelTracker>>) {
        self.inner = Some(rx);
        self.end = tracker.map(|tracker| ChannelEnd::bound(Half::Rx, tracker));
    }
}
