//! The channels of one half of a connection: where their data goes, and how much
//! credit they have left.
//!
//! A connection has two registries. That of its handle has the channels of calls
//! that this process makes; that of its driver has the channels of calls that it
//! serves. Credit only decreases: roam 0.6 neither grants more nor waits for it.

use std::sync::{Arc, Weak};

use facet::{Facet, Shape};
use foldhash::{HashMap, HashMapExt};
use roam_diagnostic::registry::{ChannelDirection, ChannelSide, Request};
use roam_wire::ConnectionId;

use crate::connection::{IncomingChannel, OutgoingChannel};
use crate::foreign::join_registry;
use crate::id_set::ChannelIdSet;
use crate::record::{ChannelTracker, ConnectionTracker};
use crate::reflect::{Half, for_each_channel};
use crate::runtime::{self, Sender, TrySendError};
use crate::slot::{DriverTxSlot, ReceiverSlot};
use crate::{ChannelId, ChannelIdAllocator, ChannelRegistry, DriverMessage, Role};

/// Received items that the buffer of a bound `Rx` holds. Delivery to it waits while it is full.
pub(crate) const RECEIVED_ITEMS: usize = 1024;

/// Credit of a registry that is given none.
const UNLIMITED_CREDIT: u32 = u32::MAX;

/// The result of routing an item.
pub(crate) enum Routed {
    /// The item is in the receiver's buffer, or the receiver is gone.
    Delivered,
    /// The receiver's buffer is full.
    Full(Delivery),
}

/// An item that waits for room in its receiver's buffer.
pub(crate) struct Delivery {
    channel_id: ChannelId,
    tx: Sender<Vec<u8>>,
    payload: Vec<u8>,
    connection: Weak<ConnectionTracker>,
}

impl Delivery {
    /// Waits for room. The row of the connection shows it, because a driver that waits here reads nothing.
    pub(crate) async fn deliver(self) {
        let connection = self.connection.upgrade();
        if let Some(connection) = &connection {
            connection.row().set_delivering(Some(self.channel_id));
        }
        // A receiver that is gone takes no data.
        let _ = self.tx.send(self.payload).await;
        if let Some(connection) = &connection {
            connection.row().set_delivering(None);
        }
    }
}

impl ChannelRegistry {
    /// Creates a registry whose channels start with `initial_credit` bytes. `role` decides the parity of the
    /// ids of channels that handlers create.
    pub fn new_with_credit_and_role(
        conn_id: ConnectionId,
        initial_credit: u32,
        driver_tx: Sender<DriverMessage>,
        role: Role,
    ) -> Self {
        let connection = join_registry(conn_id, &driver_tx, role);
        let tracker = connection.tracker();
        Self {
            _owned: Some(connection),
            ..Self::of_connection(
                conn_id,
                initial_credit,
                driver_tx,
                role,
                ChannelSide::Server,
                tracker,
            )
        }
    }

    /// Creates a registry for the root connection of an acceptor, whose channels start with `initial_credit`
    /// bytes.
    pub fn new_with_credit(initial_credit: u32, driver_tx: Sender<DriverMessage>) -> Self {
        Self::new_with_credit_and_role(
            ConnectionId::ROOT,
            initial_credit,
            driver_tx,
            Role::Acceptor,
        )
    }

    /// Creates a registry for the root connection of an acceptor, whose channels start with 4 GiB.
    pub fn new(driver_tx: Sender<DriverMessage>) -> Self {
        Self::new_with_credit(UNLIMITED_CREDIT, driver_tx)
    }

    /// One half of a connection that somebody else opens and closes.
    pub(crate) fn of_connection(
        conn_id: ConnectionId,
        initial_credit: u32,
        driver_tx: Sender<DriverMessage>,
        role: Role,
        side: ChannelSide,
        connection: Weak<ConnectionTracker>,
    ) -> Self {
        Self {
            conn_id,
            initial_credit,
            driver_tx,
            response_channel_ids: Arc::new(ChannelIdAllocator::new(role)),
            incoming: HashMap::new(),
            outgoing: HashMap::new(),
            closed: ChannelIdSet::default(),
            side,
            connection,
            _owned: None,
            request: Request::NONE,
        }
    }

    /// Returns the id of the connection.
    pub fn conn_id(&self) -> ConnectionId {
        self.conn_id
    }

    /// Returns a sender into the queue of the driver.
    pub fn driver_tx(&self) -> Sender<DriverMessage> {
        self.driver_tx.clone()
    }

    /// Returns the allocator of ids for channels that handlers create.
    pub fn response_channel_ids(&self) -> Arc<ChannelIdAllocator> {
        Arc::clone(&self.response_channel_ids)
    }

    pub(crate) fn connection(&self) -> &Weak<ConnectionTracker> {
        &self.connection
    }

    /// Names the request that the channels opened by `open` belong to.
    pub(crate) fn for_request<R>(
        &mut self,
        request: Request,
        open: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.request = request;
        let result = open(self);
        self.request = Request::NONE;
        result
    }

    /// Opens a channel whose data goes to `tx`, up to the initial credit.
    pub fn register_incoming(&mut self, channel_id: ChannelId, tx: Sender<Vec<u8>>) {
        self.open_incoming(channel_id, tx, None);
    }

    /// The same, for a channel whose items are known. Returns the channel's tracker.
    pub(crate) fn open_incoming(
        &mut self,
        channel_id: ChannelId,
        tx: Sender<Vec<u8>>,
        element: Option<&'static Shape>,
    ) -> Option<Arc<ChannelTracker>> {
        let credit = self.initial_credit;
        let tracker = self.track(channel_id, ChannelDirection::Rx, element, u64::from(credit));
        let channel = IncomingChannel {
            tx,
            credit,
            tracker: tracker.clone(),
        };
        if let Some(before) = self.incoming.insert(channel_id, channel) {
            close_tracker(before.tracker);
        }
        tracker
    }

    /// Opens a channel that may send up to the initial credit.
    pub fn register_outgoing_credit(&mut self, channel_id: ChannelId) {
        let tracker = self.track(channel_id, ChannelDirection::Tx, None, u64::MAX);
        let channel = OutgoingChannel {
            credit: self.initial_credit,
            tracker,
        };
        if let Some(before) = self.outgoing.insert(channel_id, channel) {
            close_tracker(before.tracker);
        }
    }

    pub(crate) fn track(
        &self,
        channel_id: ChannelId,
        direction: ChannelDirection,
        element: Option<&'static Shape>,
        receive_budget_bytes: u64,
    ) -> Option<Arc<ChannelTracker>> {
        ChannelTracker::open(
            &self.connection,
            channel_id,
            self.side,
            direction,
            element,
            self.request,
            receive_budget_bytes,
        )
    }

    /// Subtracts the bytes of an item from the credit of its channel, and returns the queue that it goes to.
    /// The caller sends it there, and need not hold the registry while it waits.
    ///
    /// # Errors
    ///
    /// Fails if the channel is closed or unknown, or if its credit does not suffice. The peer broke a rule then.
    pub fn prepare_route_data(
        &mut self,
        channel_id: ChannelId,
        payload: Vec<u8>,
    ) -> Result<(Sender<Vec<u8>>, Vec<u8>), ChannelError> {
        let tx = self.admit(channel_id, payload.len())?.clone();
        Ok((tx, payload))
    }

    /// Routes an item, waiting while its receiver's buffer is full.
    ///
    /// # Errors
    ///
    /// As [`Self::prepare_route_data`].
    pub async fn route_data(
        &mut self,
        channel_id: ChannelId,
        payload: Vec<u8>,
    ) -> Result<(), ChannelError> {
        if let Routed::Full(delivery) = self.route(channel_id, payload)? {
            delivery.deliver().await;
        }
        Ok(())
    }

    /// Routes an item as far as that goes without waiting.
    pub(crate) fn route(
        &mut self,
        channel_id: ChannelId,
        payload: Vec<u8>,
    ) -> Result<Routed, ChannelError> {
        let tx = self.admit(channel_id, payload.len())?;
        match tx.try_send(payload) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(Routed::Delivered),
            Err(TrySendError::Full(payload)) => Ok(Routed::Full(Delivery {
                channel_id,
                tx: tx.clone(),
                payload,
                connection: self.connection.clone(),
            })),
        }
    }

    fn admit(
        &mut self,
        channel_id: ChannelId,
        payload_bytes: usize,
    ) -> Result<&Sender<Vec<u8>>, ChannelError> {
        if self.closed.contains(channel_id) {
            return Err(ChannelError::DataAfterClose);
        }
        let channel = self
            .incoming
            .get_mut(&channel_id)
            .ok_or(ChannelError::Unknown)?;
        channel.credit = u32::try_from(payload_bytes)
            .ok()
            .and_then(|bytes| channel.credit.checked_sub(bytes))
            .ok_or(ChannelError::CreditOverrun)?;
        if let Some(tracker) = &channel.tracker {
            tracker.received(payload_bytes, channel.credit);
        }
        Ok(&channel.tx)
    }

    /// Closes a channel. The receiver can still read what was delivered.
    pub fn close(&mut self, channel_id: ChannelId) {
        if let Some(channel) = self.incoming.remove(&channel_id) {
            close_tracker(channel.tracker);
        }
        if let Some(channel) = self.outgoing.remove(&channel_id) {
            close_tracker(channel.tracker);
        }
        self.closed.insert(channel_id);
    }

    /// Closes a channel that the peer reset. Does what [`Self::close`] does.
    pub fn reset(&mut self, channel_id: ChannelId) {
        self.close(channel_id);
    }

    /// Adds `bytes` to the credit of a channel that sends.
    pub fn receive_credit(&mut self, channel_id: ChannelId, bytes: u32) {
        if let Some(channel) = self.outgoing.get_mut(&channel_id) {
            channel.credit = channel.credit.saturating_add(bytes);
        }
    }

    /// Returns whether the channel is open in either direction.
    pub fn contains(&self, channel_id: ChannelId) -> bool {
        self.contains_incoming(channel_id) || self.contains_outgoing(channel_id)
    }

    /// Returns whether the channel receives.
    pub fn contains_incoming(&self, channel_id: ChannelId) -> bool {
        self.incoming.contains_key(&channel_id)
    }

    /// Returns whether the channel sends under credit.
    pub fn contains_outgoing(&self, channel_id: ChannelId) -> bool {
        self.outgoing.contains_key(&channel_id)
    }

    /// Returns whether the channel was closed or reset.
    pub fn is_closed(&self, channel_id: ChannelId) -> bool {
        self.closed.contains(channel_id)
    }

    /// Returns the number of channels that send under credit.
    pub fn outgoing_count(&self) -> usize {
        self.outgoing.len()
    }

    /// Returns the bytes that a channel may still send; `None` if it does not send under credit.
    pub fn outgoing_credit(&self, channel_id: ChannelId) -> Option<u32> {
        self.outgoing.get(&channel_id).map(|channel| channel.credit)
    }

    /// Returns the bytes that the peer may still send on a channel; `None` if it does not receive.
    pub fn incoming_credit(&self, channel_id: ChannelId) -> Option<u32> {
        self.incoming.get(&channel_id).map(|channel| channel.credit)
    }

    /// Binds the channels in the arguments of an incoming request, by their ids.
    pub fn bind_streams<T: Facet<'static>>(&mut self, args: &mut T) {
        for_each_channel(args, |half, channel| {
            let Some(channel_id) = channel.id() else {
                return;
            };
            let element = channel.element();
            match half {
                Half::Rx => {
                    let (tx, rx) = runtime::channel(RECEIVED_ITEMS);
                    let tracker = self.open_incoming(channel_id, tx, element);
                    channel.with_field("receiver", |slot: &mut ReceiverSlot| {
                        slot.bind(rx, tracker);
                    });
                    debug!(channel_id, "bound an Rx of a request");
                }
                Half::Tx => {
                    let tracker = self.track(channel_id, ChannelDirection::Tx, element, u64::MAX);
                    channel.with_field("conn_id", |conn_id| *conn_id = self.conn_id);
                    channel.with_field("driver_tx", |slot: &mut DriverTxSlot| {
                        slot.inner = Some(self.driver_tx.clone());
                        slot.tracker = tracker;
                    });
                    debug!(channel_id, "bound a Tx of a request");
                }
            }
        });
    }
}

fn close_tracker(tracker: Option<Arc<ChannelTracker>>) {
    if let Some(tracker) = tracker {
        tracker.close();
    }
}

/// Names the rule that the data of a peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelError {
    /// The channel was never open.
    Unknown,
    /// The channel is closed.
    DataAfterClose,
    /// The data exceeds the credit of the channel.
    CreditOverrun,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_channels_are_known_for_ever_and_take_no_room() {
        let mut registry = ChannelRegistry::new(runtime::channel(1).0);
        let ids = (0..100_000).map(|channel| 2 * channel + 1);
        for channel_id in ids.clone() {
            registry.register_incoming(channel_id, runtime::channel(1).0);
            registry.close(channel_id);
        }
        assert!(ids.clone().all(|channel_id| registry.is_closed(channel_id)));
        assert!(
            !ids.clone()
                .any(|channel_id| registry.is_closed(channel_id + 1))
        );
        registry.register_incoming(1, runtime::channel(1).0);
        let routed = registry.prepare_route_data(1, Vec::new());
        assert_eq!(routed.err(), Some(ChannelError::DataAfterClose));
        assert!(
            registry.closed.entries() <= 2,
            "{}",
            registry.closed.entries()
        );
    }
}
