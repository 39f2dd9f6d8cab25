//! Decodes a request, runs its handler, and encodes the response.

use std::pin::Pin;
use std::sync::Arc;

use facet::Facet;
use roam_wire::ConnectionId;

use crate::payload::{ERROR, VALUE, encode, refusal};
use crate::record::{ChannelTracker, Incoming, RequestKey};
use crate::reflect::collect_channel_ids;
use crate::runtime::Sender;
use crate::{
    ChannelId, ChannelIdAllocator, ChannelRegistry, Context, DriverMessage, RoamError,
    ServiceDispatcher, patch_channel_ids,
};

/// A running handler.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// What [`channel`](crate::channel()) needs to know while a handler runs.
#[derive(Clone)]
pub(crate) struct DispatchContext {
    pub(crate) conn_id: ConnectionId,
    pub(crate) channel_ids: Arc<ChannelIdAllocator>,
    pub(crate) driver_tx: Sender<DriverMessage>,
}

roam_task_local::task_local! {
    // Of the task and not of the thread: other tasks run between two polls of a handler.
    static CONTEXT: DispatchContext;
}

impl DispatchContext {
    fn of(registry: &ChannelRegistry) -> Self {
        Self {
            conn_id: registry.conn_id(),
            channel_ids: registry.response_channel_ids(),
            driver_tx: registry.driver_tx(),
        }
    }

    pub(crate) fn current() -> Option<Self> {
        CONTEXT.try_with(Self::clone).ok()
    }
}

/// Where the response to one request goes.
pub(crate) struct Responder {
    key: RequestKey,
    driver_tx: Sender<DriverMessage>,
    request: Arc<Incoming>,
}

impl Responder {
    pub(crate) fn new(cx: &Context, registry: &ChannelRegistry, payload_bytes: usize) -> Self {
        let key = RequestKey {
            conn_id: cx.conn_id,
            request_id: cx.request_id.raw(),
        };
        let method_id = cx.method_id.raw();
        Self {
            key,
            driver_tx: registry.driver_tx(),
            request: Incoming::adopt(key, method_id, registry.connection(), payload_bytes),
        }
    }

    pub(crate) fn request(&self) -> &Arc<Incoming> {
        &self.request
    }

    pub(crate) fn conn_id(&self) -> ConnectionId {
        self.key.conn_id
    }

    pub(crate) fn driver_tx(&self) -> &Sender<DriverMessage> {
        &self.driver_tx
    }

    /// Records a channel of the result.
    pub(crate) fn open_outgoing(&self, channel_id: ChannelId) -> Option<Arc<ChannelTracker>> {
        self.request.open_outgoing(channel_id)
    }

    pub(crate) async fn respond(&self, payload: Vec<u8>, channels: Vec<u64>) {
        self.request.respond(&payload);
        let response = DriverMessage::Response {
            conn_id: self.key.conn_id,
            request_id: self.key.request_id,
            channels,
            payload,
        };
        // Without a driver nobody waits for the response.
        if self.driver_tx.send(response).await.is_ok() {
            self.request.enqueued();
        }
    }

    /// Answers with an error of roam's own.
    pub(crate) fn refuse(self, error: &RoamError<()>) -> HandlerFuture {
        let watcher = self.request.watcher();
        let payload = refusal(error);
        watcher.watch(Box::pin(async move {
            self.respond(payload, Vec::new()).await;
        }))
    }
}

/// Serves a request whose method can fail. Decodes the arguments, binds their channels, runs `handler`, and
/// answers with its result.
pub fn dispatch_call<A, R, E, F, Fut>(
    cx: &Context,
    payload: Vec<u8>,
    registry: &mut ChannelRegistry,
    handler: F,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>>
where
    A: Facet<'static> + Send,
    R: Facet<'static> + Send,
    E: Facet<'static> + Send,
    F: FnOnce(A) -> Fut + Send + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    serve(cx, payload, registry, handler, |result| match result {
        Ok(value) => Some((encode(&[VALUE], value).ok()?, collect_channel_ids(value))),
        Err(error) => Some((encode(&[ERROR, 0], error).ok()?, Vec::new())),
    })
}

/// Serves a request whose method cannot fail, and otherwise does what [`dispatch_call`] does.
pub fn dispatch_call_infallible<A, R, F, Fut>(
    cx: &Context,
    payload: Vec<u8>,
    registry: &mut ChannelRegistry,
    handler: F,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>>
where
    A: Facet<'static> + Send,
    R: Facet<'static> + Send,
    F: FnOnce(A) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    serve(cx, payload, registry, handler, |value| {
        Some((encode(&[VALUE], value).ok()?, collect_channel_ids(value)))
    })
}

/// Answers a request with [`RoamError::UnknownMethod`].
pub fn dispatch_unknown_method(
    cx: &Context,
    registry: &mut ChannelRegistry,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
    Responder::new(cx, registry, 0).refuse(&RoamError::UnknownMethod)
}

/// A response's payload and the channels in it.
type EncodedResponse = (Vec<u8>, Vec<u64>);

fn serve<A, R, F, Fut>(
    cx: &Context,
    payload: Vec<u8>,
    registry: &mut ChannelRegistry,
    handler: F,
    // `None` where the result does not serialize.
    answer: impl FnOnce(&R) -> Option<EncodedResponse> + Send + 'static,
) -> HandlerFuture
where
    A: Facet<'static> + Send,
    R: Send,
    F: FnOnce(A) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let responder = Responder::new(cx, registry, payload.len());
    let Ok(mut args) = facet_postcard::from_slice::<A>(&payload) else {
        return responder.refuse(&RoamError::InvalidPayload);
    };
    responder.request().record_arguments(&args);
    patch_channel_ids(&mut args, &cx.channels);
    registry.for_request(responder.request().row(), |registry| {
        registry.bind_streams(&mut args);
    });
    let watcher = responder.request().watcher();
    let serving = CONTEXT.scope(DispatchContext::of(registry), async move {
        // The result lives until the response is queued: a channel in it must not close before.
        let result = handler(args).await;
        let Some((payload, channels)) = answer(&result) else {
            debug!("a response did not serialize: its caller waits for ever");
            return;
        };
        responder.respond(payload, channels).await;
    });
    watcher.watch(Box::pin(serving))
}

/// Routes a request to one of two dispatchers, by its method.
pub struct RoutedDispatcher<A, B> {
    primary: A,
    fallback: B,
    primary_methods: Vec<u64>,
}

impl<A, B> RoutedDispatcher<A, B>
where
    A: ServiceDispatcher,
{
    /// Routes the methods that `primary` lists now to `primary`, and all others to `fallback`.
    pub fn new(primary: A, fallback: B) -> Self {
        Self {
            primary_methods: primary.method_ids(),
            primary,
            fallback,
        }
    }
}

impl<A, B> ServiceDispatcher for RoutedDispatcher<A, B>
where
    A: ServiceDispatcher,
    B: ServiceDispatcher,
{
    fn method_ids(&self) -> Vec<u64> {
        [self.primary_methods.clone(), self.fallback.method_ids()].concat()
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        if self.primary_methods.contains(&cx.method_id.raw()) {
            self.primary.dispatch(cx, payload, registry)
        } else {
            self.fallback.dispatch(cx, payload, registry)
        }
    }
}

/// Answers every request with [`RoamError::UnknownMethod`]. Use it for an end that only calls.
#[derive(Clone)]
pub struct NoDispatcher;

impl ServiceDispatcher for NoDispatcher {
    fn method_ids(&self) -> Vec<u64> {
        Vec::new()
    }

    fn dispatch(
        &self,
        cx: &Context,
        _payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        dispatch_unknown_method(cx, registry)
    }
}
