//! Replaces the published roam-session 0.6.0. It has the same API and the same
//! behaviour on the wire, and records every connection, request and channel in
//! the registry of `roam-diagnostic`, where a dump or a tracer reads it.
//!
//! A call takes this way: [`ConnectionHandle`] encodes it and puts it into the
//! driver's queue, and the [`Driver`] writes it to a [`MessageTransport`]. At the
//! other end the driver gives it to a [`ServiceDispatcher`], whose handler answers
//! through the queue of that driver. The items of channels use the same queues:
//! reflection binds each [`Tx`] and [`Rx`] in arguments and results to an id.
//!
//! `driver::link` is the protocol, without a runtime and without a transport;
//! `driver::run` is the one file that waits for both. What differs from the
//! published crate, and which of its limits stay, is in `docs/drop-in.md`.

#![forbid(unsafe_code)]

#[macro_use]
mod trace;

pub mod diagnostic;
pub mod driver;
pub mod runtime;
pub mod transport;

mod call;
mod channel;
mod connection;
mod context;
mod dispatch;
mod drain;
mod error;
mod flow;
mod foreign;
mod forwarding;
mod handle;
mod id;
mod id_set;
mod payload;
mod record;
mod reflect;
mod registry;
mod slot;
mod tunnel;

use std::convert::Infallible;
use std::marker::PhantomData;

use facet::Facet;
use roam_wire::ConnectionId;

pub use call::{CallFuture, Caller, decode_response};
pub use channel::{RxError, TxError, channel};
pub use connection::{ChannelRegistry, ConnectionHandle, DriverMessage, ServiceDispatcher};
pub use context::Context;
pub use dispatch::{
    RoutedDispatcher, dispatch_call, dispatch_call_infallible, dispatch_unknown_method,
};
pub use driver::{
    ConnectionError, Driver, FramedClient, HandshakeConfig, IncomingConnection,
    IncomingConnections, MessageConnector, Negotiated, NoDispatcher, RetryPolicy, accept_framed,
    connect_framed, connect_framed_with_policy, initiate_framed,
};
pub use error::{
    BorrowedCallResult, CallError, CallResult, ClientError, ConnectError, DecodeError,
    DispatchError, Never, RoamError, TransportError,
};
pub use flow::{FlowControl, InfiniteCredit};
pub use forwarding::{ForwardingDispatcher, LateBoundForwarder, LateBoundHandle};
pub use id::{ChannelId, ChannelIdAllocator, RequestIdGenerator, Role};
pub use payload::ResponseData;
pub use reflect::{collect_channel_ids, patch_channel_ids};
pub use registry::ChannelError;
pub use roam_frame::{Frame, MsgDesc, OwnedMessage, Payload};
pub use slot::{DriverTxSlot, ReceiverSlot, SenderSlot};
pub use transport::MessageTransport;
#[cfg(not(target_arch = "wasm32"))]
pub use tunnel::{DEFAULT_TUNNEL_CHUNK_SIZE, pump_read_to_tx, pump_rx_to_write, tunnel_stream};
pub use tunnel::{Tunnel, tunnel_pair};

// `Tx` and `Rx` are defined here and nowhere else: method ids are hashes in which a channel is known by
// the module path `roam_session`.

/// Sends items of type `T` on a channel. On the wire it is the id of the channel.
#[derive(Facet)]
#[facet(proxy = u64)]
pub struct Tx<T: 'static> {
    /// Connection of the channel, if items go straight into its driver's queue.
    pub conn_id: ConnectionId,
    /// Id of the channel, 0 before it is bound.
    pub channel_id: ChannelId,
    /// Queue that items go into, unless it is empty.
    pub sender: SenderSlot,
    /// Queue of the driver, which items go into otherwise.
    pub driver_tx: DriverTxSlot,
    #[facet(opaque)]
    _marker: PhantomData<T>,
}

/// Receives items of type `T` from a channel. On the wire it is the id of the channel.
#[derive(Facet)]
#[facet(proxy = u64)]
pub struct Rx<T: 'static> {
    /// Id of the channel, 0 before it is bound.
    pub channel_id: ChannelId,
    /// Queue that items come out of.
    pub receiver: ReceiverSlot,
    #[facet(opaque)]
    _marker: PhantomData<T>,
}

/// Lets an end of a channel stand for its id. Facet asks for conversions that could fail.
macro_rules! id_on_the_wire {
    ($end:ident) => {
        #[allow(clippy::infallible_try_from)]
        impl<T: 'static> TryFrom<&$end<T>> for u64 {
            type Error = Infallible;

            fn try_from(end: &$end<T>) -> Result<Self, Self::Error> {
                Ok(end.channel_id)
            }
        }

        #[allow(clippy::infallible_try_from)]
        impl<T: 'static> TryFrom<u64> for $end<T> {
            type Error = Infallible;

            fn try_from(channel_id: u64) -> Result<Self, Self::Error> {
                Ok(Self::disconnected(channel_id))
            }
        }
    };
}

id_on_the_wire!(Tx);
id_on_the_wire!(Rx);
