//! The fields of a `Tx` or `Rx` that binding fills. Reflection replaces their
//! content as a whole and never reads it.

use std::sync::Arc;

use facet::Facet;

use crate::DriverMessage;
use crate::record::{ChannelEnd, ChannelTracker};
use crate::reflect::Half;
use crate::runtime::{Receiver, Sender};

/// Holds the queue that the items of a `Tx` go into, or nothing.
#[derive(Facet)]
#[facet(opaque)]
pub struct SenderSlot {
    pub(crate) inner: Option<Sender<Vec<u8>>>,
    pub(crate) end: Option<ChannelEnd>,
}

impl SenderSlot {
    /// Creates a slot that holds `tx`.
    pub fn new(tx: Sender<Vec<u8>>) -> Self {
        Self {
            inner: Some(tx),
            end: None,
        }
    }

    /// Creates an empty slot.
    pub fn empty() -> Self {
        Self {
            inner: None,
            end: None,
        }
    }

    /// Takes the sender out, if there is one.
    pub fn take(&mut self) -> Option<Sender<Vec<u8>>> {
        self.end.take().map(ChannelEnd::give_away);
        self.inner.take()
    }

    /// Returns whether the slot holds a sender.
    pub fn is_some(&self) -> bool {
        self.inner.is_some()
    }

    /// Returns whether the slot is empty.
    pub fn is_none(&self) -> bool {
        self.inner.is_none()
    }

    /// Puts a sender in and drops the one before.
    pub fn set(&mut self, tx: Sender<Vec<u8>>) {
        self.inner = Some(tx);
    }
}

/// Holds the driver's queue for a `Tx` that sends its items itself, or nothing.
#[derive(Facet)]
#[facet(opaque)]
pub struct DriverTxSlot {
    pub(crate) inner: Option<Sender<DriverMessage>>,
    pub(crate) tracker: Option<Arc<ChannelTracker>>,
}

impl DriverTxSlot {
    /// Creates a slot that holds a driver's queue.
    pub fn new(tx: Sender<DriverMessage>) -> Self {
        Self {
            inner: Some(tx),
            tracker: None,
        }
    }

    /// Creates an empty slot.
    pub fn empty() -> Self {
        Self {
            inner: None,
            tracker: None,
        }
    }

    /// Takes the queue out, if there is one.
    pub fn take(&mut self) -> Option<Sender<DriverMessage>> {
        self.inner.take()
    }

    /// Returns whether the slot holds a queue.
    pub fn is_some(&self) -> bool {
        self.inner.is_some()
    }

    /// Returns whether the slot is empty.
    pub fn is_none(&self) -> bool {
        self.inner.is_none()
    }

    /// Puts a queue in and drops the one before.
    pub fn set(&mut self, tx: Sender<DriverMessage>) {
        self.inner = Some(tx);
    }

    /// Clones the sender into the queue, if there is one.
    pub fn clone_inner(&self) -> Option<Sender<DriverMessage>> {
        self.inner.clone()
    }
}

/// Holds the queue that the items of an `Rx` come out of, or nothing.
#[derive(Facet)]
#[facet(opaque)]
pub struct ReceiverSlot {
    pub(crate) inner: Option<Receiver<Vec<u8>>>,
    pub(crate) end: Option<ChannelEnd>,
}

impl ReceiverSlot {
    /// Creates a slot that holds `rx`.
    pub fn new(rx: Receiver<Vec<u8>>) -> Self {
        Self {
            inner: Some(rx),
            end: None,
        }
    }

    /// Creates an empty slot.
    pub fn empty() -> Self {
        Self {
            inner: None,
            end: None,
        }
    }

    /// Takes the receiver out, if there is one.
    pub fn take(&mut self) -> Option<Receiver<Vec<u8>>> {
        self.end.take().map(ChannelEnd::give_away);
        self.inner.take()
    }

    /// Returns whether the slot holds a receiver.
    pub fn is_some(&self) -> bool {
        self.inner.is_some()
    }

    /// Returns whether the slot is empty.
    pub fn is_none(&self) -> bool {
        self.inner.is_none()
    }

    /// Puts a receiver in and drops the one before.
    pub fn set(&mut self, rx: Receiver<Vec<u8>>) {
        self.inner = Some(rx);
    }

    /// Puts in the receiver of a channel that was just opened.
    pub(crate) fn bind(&mut self, rx: Receiver<Vec<u8>>, tracker: Option<Arc<ChannelTracker>>) {
        self.inner = Some(rx);
        self.end = tracker.map(|tracker| ChannelEnd::bound(Half::Rx, tracker));
    }
}
