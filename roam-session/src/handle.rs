//! The caller's side of a connection: calls, their channels, and virtual
//! connections. It puts messages into the queue of the driver, and never reads
//! from a transport or writes to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use facet::{Facet, Shape};
use futures_util::FutureExt;
use roam_diagnostic::registry::{ChannelDirection, ChannelSide, Outcome, Request, RequestKind};
use roam_wire::{ConnectionId, Metadata, MetadataValue};

use crate::connection::Shared;
use crate::diagnostic::DiagnosticState;
use crate::drain::Drain;
use crate::foreign::join_handle;
use crate::payload::encode;
use crate::record::{
    self, Announcements, ChannelEnd, ChannelLink, ChannelTracker, ConnectionTracker,
    HandleRegistration, Outgoing, OutgoingStart,
};
use crate::reflect::{Half, for_each_channel};
use crate::registry::{RECEIVED_ITEMS, Routed};
use crate::runtime::{self, OneshotReceiver, Permit, Receiver, Sender, TrySendError, oneshot};
use crate::slot::{ReceiverSlot, SenderSlot};
use crate::{
    ChannelError, ChannelId, ChannelIdAllocator, ChannelRegistry, ConnectError, ConnectionHandle,
    DriverMessage, RequestIdGenerator, ResponseData, Role, ServiceDispatcher, TransportError,
    collect_channel_ids, patch_channel_ids,
};

/// A call whose arguments are encoded.
pub(crate) struct RawRequest {
    pub(crate) method_id: u64,
    pub(crate) metadata: Metadata,
    pub(crate) channels: Vec<u64>,
    pub(crate) payload: Vec<u8>,
    pub(crate) arguments: Option<String>,
}

impl RawRequest {
    pub(crate) fn new(method_id: u64, payload: Vec<u8>) -> Self {
        Self {
            method_id,
            metadata: Vec::new(),
            channels: Vec::new(),
            payload,
            arguments: None,
        }
    }
}

/// A channel in the arguments of a call, taken apart and not open yet.
struct ArgumentChannel {
    channel_id: ChannelId,
    element: Option<&'static Shape>,
    end: ArgumentEnd,
    /// Connects it with the end that the caller did not pass.
    other_end: Option<ChannelLink>,
}

/// The end that the caller passed in.
enum ArgumentEnd {
    /// Its items are for the peer.
    Rx(Receiver<Vec<u8>>),
    /// The peer's items are for it.
    Tx(Sender<Vec<u8>>),
}

/// Room for a message in the driver's queue, or why there is none.
type Room<'a> = Result<Permit<'a, DriverMessage>, TrySendError<()>>;

/// Nobody takes messages out of the queue any more.
struct DriverGone;

/// A call that has a row, and is not in the driver's queue yet.
pub(crate) struct StartedCall<'a> {
    handle: &'a ConnectionHandle,
    call: RawRequest,
    request_id: u64,
    room: Room<'a>,
    outgoing: Outgoing<'a>,
}

impl StartedCall<'_> {
    pub(crate) fn row(&self) -> Request {
        self.outgoing.row()
    }

    /// Queues the call and waits for the response. Spawns `drains` once the call is queued: data of its channels
    /// must not overtake it.
    pub(crate) async fn finish(
        mut self,
        drains: Vec<Drain>,
    ) -> Result<ResponseData, TransportError> {
        let (response_tx, response_rx) = oneshot();
        let message = DriverMessage::Call {
            conn_id: self.handle.conn_id(),
            request_id: self.request_id,
            method_id: self.call.method_id,
            metadata: self.call.metadata,
            channels: self.call.channels,
            payload: self.call.payload,
            response_tx,
        };
        if self.handle.enqueue(self.room, message).await.is_err() {
            self.outgoing.end_with(Outcome::ConnectionClosed);
            return Err(TransportError::DriverGone);
        }
        self.outgoing.handed_over();
        drains.into_iter().for_each(Drain::spawn);
        let response = match self.handle.answer(response_rx).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(_)) => Err(TransportError::ConnectionClosed),
            None => Err(TransportError::DriverGone),
        };
        self.outgoing.end(&response);
        response
    }
}

impl ConnectionHandle {
    /// Creates a handle of a root connection whose driver is another crate's. Its channels start with
    /// `initial_credit` bytes.
    pub fn new(driver_tx: Sender<DriverMessage>, role: Role, initial_credit: u32) -> Self {
        Self::new_with_diagnostics(ConnectionId::ROOT, driver_tx, role, initial_credit, None)
    }

    /// Creates a handle of a connection whose driver is another crate's. Its channels start with
    /// `initial_credit` bytes. The connection has the name of `diagnostic_state`, and its rows are grouped under
    /// that state.
    pub fn new_with_diagnostics(
        conn_id: ConnectionId,
        driver_tx: Sender<DriverMessage>,
        role: Role,
        initial_credit: u32,
        diagnostic_state: Option<Arc<DiagnosticState>>,
    ) -> Self {
        let registration = join_handle(conn_id, &driver_tx, role, diagnostic_state.as_ref());
        let parts = (conn_id, driver_tx, role, initial_credit);
        Self::of(parts, diagnostic_state, registration, None)
    }

    /// Creates a handle of a connection that this crate's driver serves.
    pub(crate) fn of_connection(
        conn_id: ConnectionId,
        driver_tx: Sender<DriverMessage>,
        role: Role,
        initial_credit: u32,
        connection: &Arc<ConnectionTracker>,
        announcements: Announcements,
    ) -> Self {
        let registration = HandleRegistration::borrowed(connection);
        let parts = (conn_id, driver_tx, role, initial_credit);
        Self::of(parts, None, registration, Some(announcements))
    }

    fn of(
        (conn_id, driver_tx, role, initial_credit): (
            ConnectionId,
            Sender<DriverMessage>,
            Role,
            u32,
        ),
        diagnostic_state: Option<Arc<DiagnosticState>>,
        registration: HandleRegistration,
        announcements: Option<Announcements>,
    ) -> Self {
        let channels = ChannelRegistry::of_connection(
            conn_id,
            initial_credit,
            driver_tx.clone(),
            role,
            ChannelSide::Client,
            registration.connection().clone(),
        );
        Self {
            shared: Arc::new(Shared {
                conn_id,
                driver_tx,
                request_ids: RequestIdGenerator::new(),
                channel_ids: ChannelIdAllocator::new(role),
                channels: Mutex::new(channels),
                diagnostic_state,
                registration,
                announcements,
            }),
        }
    }

    /// Returns the id of the connection.
    pub fn conn_id(&self) -> ConnectionId {
        self.shared.conn_id
    }

    /// Whether both are handles of one connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns the state that the rows of the connection are grouped under, if there is one.
    pub fn diagnostic_state(&self) -> Option<&Arc<DiagnosticState>> {
        self.shared.diagnostic_state.as_ref()
    }

    /// Sets the name of the connection in dumps. Virtual connections without a name of their own take that
    /// name, followed by their id. An addition to the published API.
    pub fn set_diagnostic_name(&self, name: &str) {
        if let Some(connection) = self.shared.registration.connection().upgrade() {
            connection.set_name(name);
        }
    }

    /// Calls a method and waits for the response.
    ///
    /// Gives the channels in `args` their ids. The ends that the caller did not pass work from then on, also
    /// after the response.
    ///
    /// # Errors
    ///
    /// Fails if `args` cannot be encoded, or if the connection closes before the response arrives.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime if `args` holds an `Rx`, because a task sends its items.
    pub async fn call<T: Facet<'static>>(
        &self,
        method_id: u64,
        args: &mut T,
    ) -> Result<ResponseData, TransportError> {
        self.call_with_metadata(method_id, args, Metadata::default())
            .await
    }

    /// Calls a method as [`Self::call`] does, and sends `metadata` with the request.
    ///
    /// # Errors
    ///
    /// See [`Self::call`].
    ///
    /// # Panics
    ///
    /// See [`Self::call`].
    pub async fn call_with_metadata<T: Facet<'static>>(
        &self,
        method_id: u64,
        args: &mut T,
        metadata: Metadata,
    ) -> Result<ResponseData, TransportError> {
        let streams = self.take_channels(args);
        let call = self.start_call(RawRequest {
            method_id,
            metadata,
            channels: collect_channel_ids(args),
            payload: encode(&[], args).map_err(TransportError::Encode)?,
            arguments: record::arguments(args),
        });
        let drains = self.open_arguments(streams, call.row());
        call.finish(drains).await
    }

    /// Calls a method with encoded arguments that hold no channels. Returns the encoded result.
    ///
    /// # Errors
    ///
    /// Fails if the connection closes before the response arrives.
    pub async fn call_raw(
        &self,
        method_id: u64,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        self.call_raw_with_metadata(method_id, payload, Vec::new())
            .await
    }

    /// Calls a method as [`Self::call_raw`] does, and sends `metadata` with the request.
    ///
    /// # Errors
    ///
    /// See [`Self::call_raw`].
    pub async fn call_raw_with_metadata(
        &self,
        method_id: u64,
        payload: Vec<u8>,
        metadata: Vec<(String, MetadataValue)>,
    ) -> Result<Vec<u8>, TransportError> {
        let call = RawRequest {
            metadata,
            ..RawRequest::new(method_id, payload)
        };
        Ok(self.request(call).await?.payload)
    }

    pub(crate) async fn request(&self, call: RawRequest) -> Result<ResponseData, TransportError> {
        self.start_call(call).finish(Vec::new()).await
    }

    /// Records a call. It is not queued before it is finished.
    pub(crate) fn start_call(&self, call: RawRequest) -> StartedCall<'_> {
        let shared = &*self.shared;
        let request_id = self.alloc_request_id();
        let room = shared.driver_tx.try_reserve();
        let outgoing = Outgoing::start(
            shared.registration.connection().upgrade(),
            shared.announcements.as_ref().map(|to| &*to.calls),
            &OutgoingStart {
                kind: RequestKind::Call,
                request_id,
                method_id: call.method_id,
                payload_bytes: call.payload.len(),
                arguments: call.arguments.as_deref(),
                has_room: room.is_ok(),
            },
        );
        StartedCall {
            handle: self,
            call,
            request_id,
            room,
            outgoing,
        }
    }

    /// Opens a virtual connection over the link, and waits until the peer accepts it. `dispatcher` serves the
    /// peer's calls over it; if `None`, the dispatcher of the link does.
    ///
    /// # Errors
    ///
    /// Fails if the peer rejects the connection, or if the link closes before the peer answers.
    pub async fn connect(
        &self,
        metadata: Metadata,
        dispatcher: Option<Box<dyn ServiceDispatcher>>,
    ) -> Result<ConnectionHandle, ConnectError> {
        let shared = &*self.shared;
        let request_id = self.alloc_request_id();
        let room = shared.driver_tx.try_reserve();
        let mut outgoing = Outgoing::start(
            shared.registration.connection().upgrade(),
            shared.announcements.as_ref().map(|to| &*to.connects),
            &OutgoingStart {
                kind: RequestKind::Connect,
                request_id,
                method_id: 0,
                payload_bytes: 0,
                arguments: None,
                has_room: room.is_ok(),
            },
        );
        let (response_tx, response_rx) = oneshot();
        let message = DriverMessage::Connect {
            request_id,
            metadata,
            response_tx,
            dispatcher,
        };
        let answer = match self.enqueue(room, message).await {
            Ok(()) => {
                outgoing.handed_over();
                self.answer(response_rx).await
            }
            Err(_) => None,
        };
        let Some(answer) = answer else {
            outgoing.end_with(Outcome::ConnectionClosed);
            let gone = std::io::Error::other("driver gone");
            return Err(ConnectError::ConnectFailed(gone));
        };
        outgoing.end_with(match &answer {
            Ok(_) => Outcome::Ok,
            Err(ConnectError::Rejected(_)) => Outcome::UserError,
            Err(_) => Outcome::ConnectionClosed,
        });
        answer
    }

    /// Puts a message into the driver's queue: into the room that there is, or once there is some.
    async fn enqueue(&self, room: Room<'_>, message: DriverMessage) -> Result<(), DriverGone> {
        match room {
            Ok(room) => {
                room.send(message);
                Ok(())
            }
            Err(TrySendError::Full(())) => {
                let sent = self.shared.driver_tx.send(message).await;
                sent.map_err(|_| DriverGone)
            }
            Err(TrySendError::Closed(())) => Err(DriverGone),
        }
    }

    /// Waits for what the driver answers to a message. `None` if the driver is gone.
    async fn answer<T>(&self, answer: OneshotReceiver<T>) -> Option<T> {
        // A message that is queued while the driver ends may stay in the queue for as long as there is a handle, and
        // whom to answer with it.
        if self.shared.driver_tx.is_closed() {
            answer.now_or_never()?.ok()
        } else {
            answer.await.ok()
        }
    }

    /// Returns a new id for a channel of a call that the caller puts into the driver's queue itself.
    pub fn alloc_channel_id(&self) -> ChannelId {
        self.shared.channel_ids.next()
    }

    /// Returns a new id for a call that the caller puts into the driver's queue itself.
    pub fn alloc_request_id(&self) -> u64 {
        self.shared.request_ids.next()
    }

    /// Opens a channel whose data goes to `tx`, up to the initial credit.
    pub fn register_incoming(&self, channel_id: ChannelId, tx: Sender<Vec<u8>>) {
        self.channels().register_incoming(channel_id, tx);
    }

    /// The same, for a channel of a known request.
    pub(crate) fn open_incoming(
        &self,
        channel_id: ChannelId,
        tx: Sender<Vec<u8>>,
        element: Option<&'static Shape>,
        request: Request,
    ) -> Option<Arc<ChannelTracker>> {
        self.channels().for_request(request, |channels| {
            channels.open_incoming(channel_id, tx, element)
        })
    }

    /// Opens a channel that may send up to the initial credit.
    pub fn register_outgoing_credit(&self, channel_id: ChannelId) {
        self.channels().register_outgoing_credit(channel_id);
    }

    /// Delivers an item from the peer, and waits while the buffer of its receiver is full.
    ///
    /// # Errors
    ///
    /// See [`ChannelRegistry::prepare_route_data`].
    pub async fn route_data(
        &self,
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
        &self,
        channel_id: ChannelId,
        payload: Vec<u8>,
    ) -> Result<Routed, ChannelError> {
        self.channels().route(channel_id, payload)
    }

    /// The same for the driver, to whom a channel that was closed is as unknown as one that never was.
    pub(crate) fn route_open(
        &self,
        channel_id: ChannelId,
        payload: Vec<u8>,
    ) -> Result<Routed, ChannelError> {
        let mut channels = self.channels();
        if !channels.contains(channel_id) {
            return Err(ChannelError::Unknown);
        }
        channels.route(channel_id, payload)
    }

    /// Closes a channel. The receiver can still read what was delivered.
    pub fn close_channel(&self, channel_id: ChannelId) {
        self.channels().close(channel_id);
    }

    /// Closes a channel that the peer reset. Does what [`Self::close_channel`] does.
    pub fn reset_channel(&self, channel_id: ChannelId) {
        self.channels().reset(channel_id);
    }

    /// Returns whether the channel is open in either direction.
    pub fn contains_channel(&self, channel_id: ChannelId) -> bool {
        self.channels().contains(channel_id)
    }

    /// Adds `bytes` to the credit of a channel that sends.
    pub fn receive_credit(&self, channel_id: ChannelId, bytes: u32) {
        self.channels().receive_credit(channel_id, bytes);
    }

    /// Returns a sender into the queue of the driver.
    pub fn driver_tx(&self) -> Sender<DriverMessage> {
        self.shared.driver_tx.clone()
    }

    /// Binds each `Rx` in a result. `channels` are the ids of its channels, as the response message lists them.
    pub fn bind_response_streams<T: Facet<'static>>(&self, response: &mut T, channels: &[u64]) {
        // Behind a proxy the encoded ids are another connection's; those of the message count.
        patch_channel_ids(response, channels);
        for_each_channel(response, |half, channel| {
            if half == Half::Tx {
                return;
            }
            let Some(channel_id) = channel.id() else {
                return;
            };
            let (tx, rx) = runtime::channel(RECEIVED_ITEMS);
            let tracker = self.open_incoming(channel_id, tx, channel.element(), Request::NONE);
            channel.with_field("receiver", |slot: &mut ReceiverSlot| {
                slot.bind(rx, tracker);
            });
        });
    }

    /// Gives the channels in `args` their ids and takes the caller's ends out.
    fn take_channels<T: Facet<'static>>(&self, args: &mut T) -> Vec<ArgumentChannel> {
        let mut channels = Vec::new();
        for_each_channel(args, |half, channel| {
            let channel_id = self.alloc_channel_id();
            debug!(channel_id, ?half, "bound a channel of a call");
            channel.set_id(channel_id);
            let end = match half {
                Half::Rx => channel.with_field("receiver", |slot: &mut ReceiverSlot| {
                    (slot.end.take(), slot.take().map(ArgumentEnd::Rx))
                }),
                Half::Tx => channel.with_field("sender", |slot: &mut SenderSlot| {
                    (slot.end.take(), slot.take().map(ArgumentEnd::Tx))
                }),
            };
            if let Some((passed, Some(end))) = end {
                channels.push(ArgumentChannel {
                    channel_id,
                    element: channel.element(),
                    end,
                    other_end: passed.and_then(ChannelEnd::give_away),
                });
            }
        });
        channels
    }

    /// Opens the channels of a call. Returns what to spawn once the request is queued.
    fn open_arguments(&self, channels: Vec<ArgumentChannel>, request: Request) -> Vec<Drain> {
        let channels = channels.into_iter();
        channels
            .filter_map(|channel| self.open_argument(channel, request))
            .collect()
    }

    fn open_argument(&self, channel: ArgumentChannel, request: Request) -> Option<Drain> {
        let channel_id = channel.channel_id;
        let link_other_end = |tracker: Option<&Arc<ChannelTracker>>| {
            if let (Some(tracker), Some(other_end)) = (tracker, &channel.other_end) {
                // Set before only if a pair was passed on twice: the first channel counts then.
                let _ = other_end.set(Arc::clone(tracker));
            }
        };
        match channel.end {
            ArgumentEnd::Tx(tx) => {
                let tracker = self.open_incoming(channel_id, tx, channel.element, request);
                link_other_end(tracker.as_ref());
                None
            }
            ArgumentEnd::Rx(items) => {
                let tracker = self.channels().for_request(request, |channels| {
                    channels.track(channel_id, ChannelDirection::Tx, channel.element, u64::MAX)
                });
                link_other_end(tracker.as_ref());
                Some(Drain {
                    items,
                    conn_id: self.shared.conn_id,
                    channel_id,
                    driver_tx: self.driver_tx(),
                    tracker,
                    other_leg: None,
                })
            }
        }
    }

    fn channels(&self) -> MutexGuard<'_, ChannelRegistry> {
        self.shared
            .channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
