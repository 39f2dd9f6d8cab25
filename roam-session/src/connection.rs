//! The types that a connection consists of: its handle, its channels, its
//! dispatcher, and the messages to its driver.
//!
//! Each of them contains another one, so they are defined in one file. What they
//! do is in `handle`, `registry` and `dispatch`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};

use foldhash::HashMap;
use roam_diagnostic::registry::{ChannelSide, Request};
use roam_wire::{ConnectionId, Metadata, MetadataValue};

use crate::diagnostic::DiagnosticState;
use crate::id_set::ChannelIdSet;
use crate::record::{
    Announcements, ChannelTracker, ConnectionTracker, HandleRegistration, OwnedConnection,
};
use crate::runtime::{OneshotSender, Sender};
use crate::{
    ChannelId, ChannelIdAllocator, ConnectError, Context, RequestIdGenerator, ResponseData,
    TransportError,
};

/// Calls the other end of a connection. Clones share the connection.
#[derive(Clone)]
pub struct ConnectionHandle {
    pub(crate) shared: Arc<Shared>,
}

/// The state that the clones of a handle share.
pub(crate) struct Shared {
    pub(crate) conn_id: ConnectionId,
    pub(crate) driver_tx: Sender<DriverMessage>,
    pub(crate) request_ids: RequestIdGenerator,
    pub(crate) channel_ids: ChannelIdAllocator,
    pub(crate) channels: Mutex<ChannelRegistry>,
    pub(crate) diagnostic_state: Option<Arc<DiagnosticState>>,
    pub(crate) registration: HandleRegistration,
    pub(crate) announcements: Option<Announcements>,
}

/// Knows where the data of each open channel goes, and how much credit the channel has left.
pub struct ChannelRegistry {
    pub(crate) conn_id: ConnectionId,
    pub(crate) initial_credit: u32,
    pub(crate) driver_tx: Sender<DriverMessage>,
    pub(crate) response_channel_ids: Arc<ChannelIdAllocator>,
    pub(crate) incoming: HashMap<ChannelId, IncomingChannel>,
    pub(crate) outgoing: HashMap<ChannelId, OutgoingChannel>,
    pub(crate) closed: ChannelIdSet,
    pub(crate) side: ChannelSide,
    pub(crate) connection: Weak<ConnectionTracker>,
    /// The connection, if this registry keeps it open.
    pub(crate) _owned: Option<OwnedConnection>,
    /// The request whose channels are being bound.
    pub(crate) request: Request,
}

/// A channel on which this side receives.
pub(crate) struct IncomingChannel {
    pub(crate) tx: Sender<Vec<u8>>,
    pub(crate) credit: u32,
    pub(crate) tracker: Option<Arc<ChannelTracker>>,
}

/// A channel on which this side sends under credit.
pub(crate) struct OutgoingChannel {
    pub(crate) credit: u32,
    pub(crate) tracker: Option<Arc<ChannelTracker>>,
}

/// Serves requests.
pub trait ServiceDispatcher: Send + Sync {
    /// Returns the ids of the methods that it serves; none if it takes every request.
    fn method_ids(&self) -> Vec<u64>;

    /// Serves one request. Binds its channels to `registry` before it returns, because data of these channels
    /// may be read as soon as it has returned. The returned future runs the handler and puts a
    /// [`DriverMessage::Response`] into [`ChannelRegistry::driver_tx`].
    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>>;
}

/// Asks the driver to send something.
///
/// All messages of a link go through one queue and are sent in that order: a call before the data of its
/// channels, and the close of a channel before the response.
// Drivers of other crates take this apart field by field: nothing may be added to it.
pub enum DriverMessage {
    /// A request. The response goes to `response_tx`.
    Call {
        /// Connection to call over.
        conn_id: ConnectionId,
        /// Id of the request, unique among the connection's calls in flight.
        request_id: u64,
        /// Id of the method.
        method_id: u64,
        /// Key-value pairs that are sent with the arguments.
        metadata: Vec<(String, MetadataValue)>,
        /// Ids of the channels in the arguments, in declaration order.
        channels: Vec<u64>,
        /// Encoded arguments.
        payload: Vec<u8>,
        /// Receives the response, or the reason why there is none.
        response_tx: OneshotSender<Result<ResponseData, TransportError>>,
    },
    /// An item of a channel.
    Data {
        /// Connection of the channel.
        conn_id: ConnectionId,
        /// Id of the channel.
        channel_id: ChannelId,
        /// Encoded item.
        payload: Vec<u8>,
    },
    /// The end of a channel.
    Close {
        /// Connection of the channel.
        conn_id: ConnectionId,
        /// Id of the channel.
        channel_id: ChannelId,
    },
    /// The response to an incoming request.
    Response {
        /// Connection that the request arrived on.
        conn_id: ConnectionId,
        /// Id of the request.
        request_id: u64,
        /// Ids of the channels in the result, in declaration order.
        channels: Vec<u64>,
        /// Encoded result.
        payload: Vec<u8>,
    },
    /// A request for a virtual connection. Its handle goes to `response_tx`.
    Connect {
        /// Id of the request, unique among the handle's calls in flight.
        request_id: u64,
        /// Key-value pairs by which the peer decides.
        metadata: Metadata,
        /// Receives the handle of the new connection, or the reason why there is none.
        response_tx: OneshotSender<Result<ConnectionHandle, ConnectError>>,
        /// Serves the peer's calls over the new connection; if `None`, the dispatcher of the link does.
        dispatcher: Option<Box<dyn ServiceDispatcher>>,
    },
}
