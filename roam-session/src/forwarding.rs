//! Dispatchers that forward requests to another connection without decoding them.
//!
//! Both legs have rows of their own: an incoming request here, an outgoing call
//! upstream. A channel gets a second id for the other leg, and data is copied both
//! ways, because the direction of a channel is in types that a proxy does not know.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use crate::dispatch::{HandlerFuture, Responder};
use crate::drain::Drain;
use crate::handle::RawRequest;
use crate::payload::refusal;
use crate::record::ChannelTracker;
use crate::runtime::{self, Receiver};
use crate::{
    ChannelId, ChannelIdAllocator, ChannelRegistry, ConnectionHandle, Context, ResponseData,
    RoamError, ServiceDispatcher, TransportError,
};
use roam_diagnostic::registry::Request;

/// Items of one channel that wait between the legs.
const FORWARDED_ITEMS: usize = 64;

/// Forwards every request to an upstream connection.
#[derive(Clone)]
pub struct ForwardingDispatcher {
    upstream: ConnectionHandle,
}

impl ForwardingDispatcher {
    /// Creates a dispatcher that forwards to `upstream`.
    pub fn new(upstream: ConnectionHandle) -> Self {
        Self { upstream }
    }
}

impl ServiceDispatcher for ForwardingDispatcher {
    /// Returns an empty list, because it takes every request.
    fn method_ids(&self) -> Vec<u64> {
        Vec::new()
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let responder = Responder::new(cx, registry, payload.len());
        let watcher = responder.request().watcher();
        let upstream = self.upstream.clone();
        let method_id = cx.method_id.raw();
        let forwarding: HandlerFuture = if cx.channels.is_empty() {
            let ids = registry.response_channel_ids();
            Box::pin(forward_unary(responder, upstream, method_id, payload, ids))
        } else {
            let channels = registry.for_request(responder.request().row(), |registry| {
                cx.channels
                    .iter()
                    .map(|&downstream| ForwardedChannel::open(downstream, registry, &upstream))
                    .collect()
            });
            Box::pin(forward_streaming(
                responder, upstream, method_id, payload, channels,
            ))
        };
        watcher.watch(forwarding)
    }
}

/// Passes on a call without channels in its arguments; those in its result get ids of this side's.
async fn forward_unary(
    responder: Responder,
    upstream: ConnectionHandle,
    method_id: u64,
    payload: Vec<u8>,
    ids: Arc<ChannelIdAllocator>,
) {
    let call = RawRequest::new(method_id, payload);
    let (payload, theirs) = as_response(upstream.request(call).await);
    let channels = theirs
        .into_iter()
        .map(|upstream_id| {
            let downstream_id = ids.next();
            debug!(
                upstream_id,
                downstream_id, "forwarding a channel of a result"
            );
            let (tx, items) = runtime::channel(FORWARDED_ITEMS);
            let received = upstream.open_incoming(upstream_id, tx, None, Request::NONE);
            let drain = Drain {
                items,
                conn_id: responder.conn_id(),
                channel_id: downstream_id,
                driver_tx: responder.driver_tx().clone(),
                tracker: responder.open_outgoing(downstream_id),
                other_leg: received,
            };
            drain.spawn();
            downstream_id
        })
        .collect();
    responder.respond(payload, channels).await;
}

/// Passes on a call with channels in its arguments.
async fn forward_streaming(
    responder: Responder,
    upstream: ConnectionHandle,
    method_id: u64,
    payload: Vec<u8>,
    channels: Vec<ForwardedChannel>,
) {
    let ids: Vec<_> = channels
        .iter()
        .map(|channel| (channel.downstream_id, channel.upstream_id))
        .collect();
    let call = upstream.start_call(RawRequest {
        channels: ids.iter().map(|&(_, upstream)| upstream).collect(),
        ..RawRequest::new(method_id, payload)
    });
    let mut drains = Vec::new();
    for channel in channels {
        drains.extend(channel.open_upstream(&responder, &upstream, call.row()));
    }
    let (payload, theirs) = as_response(call.finish(drains).await);
    // The caller gave these channels their ids, and knows no others.
    let channels = theirs
        .into_iter()
        .filter_map(|id| ids.iter().find(|&&(_, upstream)| upstream == id))
        .map(|&(downstream, _)| downstream)
        .collect();
    responder.respond(payload, channels).await;
}

/// The response for the downstream leg.
fn as_response(response: Result<ResponseData, TransportError>) -> (Vec<u8>, Vec<u64>) {
    match response {
        Ok(response) => (response.payload, response.channels),
        Err(TransportError::Encode(_)) => (refusal(&RoamError::InvalidPayload), Vec::new()),
        Err(TransportError::ConnectionClosed | TransportError::DriverGone) => {
            (refusal(&RoamError::Cancelled), Vec::new())
        }
    }
}

/// A channel of an incoming request, and what the caller has sent on it.
struct ForwardedChannel {
    downstream_id: ChannelId,
    upstream_id: ChannelId,
    from_downstream: Receiver<Vec<u8>>,
    downstream: Option<Arc<ChannelTracker>>,
}

impl ForwardedChannel {
    fn open(
        downstream_id: ChannelId,
        registry: &mut ChannelRegistry,
        upstream: &ConnectionHandle,
    ) -> Self {
        let (tx, from_downstream) = runtime::channel(FORWARDED_ITEMS);
        Self {
            downstream_id,
            upstream_id: upstream.alloc_channel_id(),
            from_downstream,
            downstream: registry.open_incoming(downstream_id, tx, None),
        }
    }

    /// Opens the other leg. Returns what copies both ways. The direction that ends first is the one that was used.
    fn open_upstream(
        self,
        responder: &Responder,
        upstream: &ConnectionHandle,
        request: Request,
    ) -> [Drain; 2] {
        let (tx, from_upstream) = runtime::channel(FORWARDED_ITEMS);
        let tracker = upstream.open_incoming(self.upstream_id, tx, None, request);
        let to_upstream = Drain {
            items: self.from_downstream,
            conn_id: upstream.conn_id(),
            channel_id: self.upstream_id,
            driver_tx: upstream.driver_tx(),
            tracker: tracker.clone(),
            other_leg: self.downstream.clone(),
        };
        let to_downstream = Drain {
            items: from_upstream,
            conn_id: responder.conn_id(),
            channel_id: self.downstream_id,
            driver_tx: responder.driver_tx().clone(),
            tracker: self.downstream,
            other_leg: tracker,
        };
        [to_upstream, to_downstream]
    }
}

/// Holds a connection that is set later. Clones share it.
#[derive(Clone, Default)]
pub struct LateBoundHandle {
    inner: Arc<OnceLock<ConnectionHandle>>,
}

impl LateBoundHandle {
    /// Creates a handle that is not set yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the connection.
    ///
    /// # Panics
    ///
    /// Panics if it is set already.
    pub fn set(&self, handle: ConnectionHandle) {
        assert!(
            self.inner.set(handle).is_ok(),
            "a LateBoundHandle can be set only once"
        );
    }

    /// Returns the connection, or `None` before it is set.
    pub fn get(&self) -> Option<&ConnectionHandle> {
        self.inner.get()
    }
}

/// Forwards every request to a connection that is set later. Until then it answers [`RoamError::Cancelled`].
#[derive(Clone)]
pub struct LateBoundForwarder {
    upstream: LateBoundHandle,
}

impl LateBoundForwarder {
    /// Creates a dispatcher that forwards to the connection of `upstream`.
    pub fn new(upstream: LateBoundHandle) -> Self {
        Self { upstream }
    }
}

impl ServiceDispatcher for LateBoundForwarder {
    /// Returns an empty list, because it takes every request.
    fn method_ids(&self) -> Vec<u64> {
        Vec::new()
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        match self.upstream.get() {
            Some(upstream) => {
                ForwardingDispatcher::new(upstream.clone()).dispatch(cx, payload, registry)
            }
            None => Responder::new(cx, registry, payload.len()).refuse(&RoamError::Cancelled),
        }
    }
}
