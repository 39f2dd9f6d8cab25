//! The driver's state of one connection of its link.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use roam_diagnostic::registry::{ChannelSide, Outcome, Phase, Request};
use roam_wire::ConnectionId;

use crate::record::{Announcements, ConnectionTracker, Incoming, outcome_of};
use crate::registry::Routed;
use crate::runtime::{AbortHandle, OneshotSender, Sender, is_abandoned};
use crate::{
    ChannelError, ChannelId, ChannelRegistry, ConnectionHandle, DriverMessage, ResponseData, Role,
    ServiceDispatcher, TransportError,
};

/// Where a response goes.
pub(super) type ResponseSender = OneshotSender<Result<ResponseData, TransportError>>;

/// One connection: the calls of both directions that are in flight, and both channel registries.
pub(super) struct LinkConnection {
    pub(super) tracker: Arc<ConnectionTracker>,
    pub(super) announcements: Announcements,
    pub(super) handle: ConnectionHandle,
    /// The channels of incoming calls.
    pub(super) channels: ChannelRegistry,
    /// Serves incoming calls; `None` for the dispatcher of the link.
    pub(super) dispatcher: Option<Box<dyn ServiceDispatcher>>,
    calls: HashMap<u64, Call>,
    requests: HashMap<u64, Serving>,
}

/// A call that waits for its response.
struct Call {
    row: Request,
    response_tx: ResponseSender,
}

/// A request that waits for its handler.
struct Serving {
    request: Arc<Incoming>,
    /// `None` in a test without a runtime.
    abort: Option<AbortHandle>,
}

impl LinkConnection {
    pub(super) fn new(
        conn_id: ConnectionId,
        driver_tx: &Sender<DriverMessage>,
        role: Role,
        initial_credit: u32,
        tracker: Arc<ConnectionTracker>,
        announcements: Announcements,
        dispatcher: Option<Box<dyn ServiceDispatcher>>,
    ) -> Self {
        let handle = ConnectionHandle::of_connection(
            conn_id,
            driver_tx.clone(),
            role,
            initial_credit,
            &tracker,
            announcements.clone(),
        );
        let channels = ChannelRegistry::of_connection(
            conn_id,
            initial_credit,
            driver_tx.clone(),
            role,
            ChannelSide::Server,
            Arc::downgrade(&tracker),
        );
        Self {
            tracker,
            announcements,
            handle,
            channels,
            dispatcher,
            calls: HashMap::new(),
            requests: HashMap::new(),
        }
    }

    /// A call is about to be written.
    pub(super) fn add_call(&mut self, request_id: u64, row: Request, response_tx: ResponseSender) {
        if self.calls.len() == self.calls.capacity() {
            self.forget_abandoned_calls();
        }
        self.calls.insert(request_id, Call { row, response_tx });
    }

    #[cfg(test)]
    pub(super) fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Drops the calls whose callers left, because their responses may never arrive. If more than half of the
    /// calls remain, makes room for as many again, so that this rarely runs.
    fn forget_abandoned_calls(&mut self) {
        self.calls
            .retain(|_, call| !is_abandoned(&call.response_tx));
        self.calls.reserve(self.calls.len());
    }

    /// A response arrived at `now_ns`. It is ignored if no call waits for it.
    pub(super) fn answer_call(&mut self, request_id: u64, response: ResponseData, now_ns: u64) {
        let Some(call) = self.calls.remove(&request_id) else {
            return;
        };
        let bytes = response.payload.len() as u64;
        let outcome = outcome_of(&response.payload);
        call.row
            .respond_at(Phase::Responded, outcome, bytes, now_ns);
        // The caller may have left.
        let _ = call.response_tx.send(Ok(response));
    }

    pub(super) fn is_serving(&self, request_id: u64) -> bool {
        self.requests.contains_key(&request_id)
    }

    /// A request's handler was spawned.
    pub(super) fn add_request(
        &mut self,
        request_id: u64,
        request: Arc<Incoming>,
        abort: Option<AbortHandle>,
    ) {
        self.requests.insert(request_id, Serving { request, abort });
    }

    /// The request that a response answers, `None` where it was cancelled or answered before.
    pub(super) fn finish_request(&mut self, request_id: u64) -> Option<Arc<Incoming>> {
        Some(self.requests.remove(&request_id)?.request)
    }

    /// Aborts a request's handler. Returns whether there was one.
    pub(super) fn cancel_request(&mut self, request_id: u64) -> bool {
        let Some(serving) = self.requests.remove(&request_id) else {
            return false;
        };
        serving.request.cancel();
        serving.abort();
        true
    }

    /// Fails the calls in flight and aborts the handlers: the peer or we ended the connection.
    pub(super) fn abort_all(&mut self) {
        for (_, call) in self.calls.drain() {
            call.row.end(Outcome::ConnectionClosed);
            // The caller may have left.
            let _ = call.response_tx.send(Err(TransportError::ConnectionClosed));
        }
        for (_, serving) in self.requests.drain() {
            serving.request.disconnect();
            serving.abort();
        }
    }

    /// Routes an item to the half of the connection that has the channel.
    pub(super) fn route(
        &mut self,
        channel_id: ChannelId,
        payload: Vec<u8>,
    ) -> Result<Routed, ChannelError> {
        if self.channels.contains_incoming(channel_id) {
            self.channels.route(channel_id, payload)
        } else {
            self.handle.route_open(channel_id, payload)
        }
    }

    /// Ends a channel. Returns whether there was one.
    pub(super) fn close_channel(&mut self, channel_id: ChannelId) -> bool {
        if self.channels.contains(channel_id) {
            self.channels.close(channel_id);
        } else if self.handle.contains_channel(channel_id) {
            self.handle.close_channel(channel_id);
        } else {
            return false;
        }
        true
    }

    /// Adds to what a channel may send, if there is one.
    pub(super) fn receive_credit(&mut self, channel_id: ChannelId, bytes: u32) {
        if self.channels.contains(channel_id) {
            self.channels.receive_credit(channel_id, bytes);
        } else {
            self.handle.receive_credit(channel_id, bytes);
        }
    }
}

impl Serving {
    fn abort(self) {
        if let Some(abort) = self.abort {
            abort.abort();
        }
    }
}

/// Ends what is left when the link is gone. Handlers run on, and their callers get no response.
impl Drop for LinkConnection {
    fn drop(&mut self) {
        for (_, call) in self.calls.drain() {
            call.row.end(Outcome::ConnectionClosed);
        }
        for (_, serving) in self.requests.drain() {
            serving.request.disconnect();
        }
        self.tracker.close();
    }
}
