//! What handles, dispatchers and channels put into the driver's queue.

use facet::Facet;
use facet_postcard::SerializeError;
use roam_wire::{ConnectionId, Metadata, MetadataValue};

use crate::runtime::OneshotSender;
use crate::{ChannelId, ConnectError, ConnectionHandle, ServiceDispatcher, TransportError};

/// What most payloads fit into.
const PAYLOAD_BYTES: usize = 64;

/// A payload: `prefix`, and `value` encoded.
pub(crate) fn encode<T: Facet<'static>>(
    prefix: &[u8],
    value: &T,
) -> Result<Vec<u8>, SerializeError> {
    let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
    payload.extend_from_slice(prefix);
    facet_postcard::to_writer_fallible(value, &mut payload)?;
    Ok(payload)
}

/// A response as it came, before it is decoded.
#[derive(Debug)]
pub struct ResponseData {
    /// The encoded result.
    pub payload: Vec<u8>,
    /// Ids of the channels in the result, in declaration order.
    pub channels: Vec<u64>,
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
