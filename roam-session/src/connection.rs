//! The types that a connection is made of: its handle, its channels, what serves it, and the messages to
//! its driver.
//!
//! Each of them contains another one, so they are defined in one file. What they do is in `handle`,
//! `registry` and `dispatch`.

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

/// One end of a connection, for calling the other one. Clones share it.
#[derive(Clone)]
pub struct ConnectionHandle {
    pub(crate) shared: Arc<Shared>,
}

/// What the clones of a handle share.
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

/// Where the data of open channels goes.
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
    /// The connection, where it is open for as long as this registry is there.
    pub(crate) _owned: Option<OwnedConnection>,
    /// The request that channels are bound for now.
    pub(crate) request: Request,
}

/// A channel that this side receives on.
pub(crate) struct IncomingChannel {
    pub(crate) tx: Sender<Vec<u8>>,
    pub(crate) credit: u32,
    pub(crate) tracker: Option<Arc<ChannelTracker>>,
}

/// A channel that this side sends on under credit.
pub(crate) struct OutgoingChannel {
    pub(crate) credit: u32,
    pub(crate) tracker: Option<Arc<ChannelTracker>>,
}

/// Serves requests.
pub trait ServiceDispatcher: Send + Sync {
    /// The methods it serves; empty for one that takes whatever comes.
    fn method_ids(&self) -> Vec<u64>;

    /// Serves one request: binds its channels to `registry` before it returns, and answers with a
    /// [`DriverMessage::Response`] through [`ChannelRegistry::driver_tx`] in the future it returns.
    ///
    /// Data that follows the request may be read as soon as this returns, hence the binding comes first.
    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>>;
}

/// Something for the driver to send.
///
/// Everything goes through one queue, so that what is put in first is sent first: a call before the data
/// of its channels, a channel's close before the response.
// Drivers of other crates take this apart field by field: nothing may be added to it.
pub enum DriverMessage {
    /// A request; the response goes to `response_tx`.
    Call {
        /// The connection to call over.
        conn_id: ConnectionId,
        /// Its id, unique among the connection's calls in flight.
        request_id: u64,
        /// The method's id.
        method_id: u64,
        /// Key-value pairs beside the arguments.
        metadata: Vec<(String, MetadataValue)>,
        /// Ids of the channels in the arguments, in declaration order.
        channels: Vec<u64>,
        /// The encoded arguments.
        payload: Vec<u8>,
        /// Where the response goes.
        response_tx: OneshotSender<Result<ResponseData, TransportError>>,
    },
    /// An item of a channel.
    Data {
        /// The channel's connection.
        conn_id: ConnectionId,
        /// The channel.
        channel_id: ChannelId,
        /// The encoded item.
        payload: Vec<u8>,
    },
    /// The end of a channel.
    Close {
        /// The channel's connection.
        conn_id: ConnectionId,
        /// The channel.
        channel_id: ChannelId,
    },
    /// The answer to a request that came in.
    Response {
        /// The connection the request came over.
        conn_id: ConnectionId,
        /// The request's id.
        request_id: u64,
        /// Ids of the channels in the result, in declaration order.
        channels: Vec<u64>,
        /// The encoded result.
        payload: Vec<u8>,
    },
    /// A request for a virtual connection; its handle goes to `response_tx`.
    Connect {
        /// Its id, unique among the handle's calls in flight.
        request_id: u64,
        /// Key-value pairs for the peer to decide by.
        metadata: Metadata,
        /// Where the new connection's handle goes.
        response_tx: OneshotSender<Result<ConnectionHandle, ConnectError>>,
        /// Serves what the peer calls over the new connection; without one, the link's dispatcher does.
        dispatcher: Option<Box<dyn ServiceDispatcher>>,
    },
}
