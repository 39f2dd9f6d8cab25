//! The row of one incoming request, from the driver through the dispatcher and
//! the handler to the response.
//!
//! The driver makes the row and [offers](Incoming::offer) it while it calls the
//! dispatcher; the dispatch helpers [adopt](Incoming::adopt) it. On a driver of
//! another crate nothing is offered: the helpers adopt the row that the
//! connection's `DiagnosticState` recorded in the same poll, or make one.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use facet::Facet;
use roam_diagnostic::registry::{
    ChannelDirection, ChannelSide, Connection, Direction, Mark, Outcome, Phase, Request,
    RequestKind, RequestStart,
};
use roam_wire::ConnectionId;

use super::connection::{ConnectionTracker, EndsWithConnection};
use super::state::{SharedState, State};
use super::{ChannelTracker, outcome_of};
use crate::ChannelId;
use crate::diagnostic::adopt_incoming;

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Identifies a request among those in flight on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestKey {
    pub(crate) conn_id: ConnectionId,
    pub(crate) request_id: u64,
}

/// Owns the row of an incoming request. Driver and handler hold one each; the row ends with the last of
/// them, if nothing ended it before.
pub(crate) struct Incoming {
    row: Request,
    connection: Option<Arc<ConnectionTracker>>,
    key: RequestKey,
    ended_by: EndedBy,
    state: SharedState,
}

/// Who ends the row of a request that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndedBy {
    /// This crate's driver, after the response was written.
    Driver,
    /// The handler, once the response is queued: the driver is another crate's.
    Handler,
    /// The `DiagnosticState` that another crate's driver reports to.
    DiagnosticState,
}

thread_local! {
    /// The request that the driver on this thread is calling a dispatcher with.
    static OFFERED: RefCell<Option<Arc<Incoming>>> = const { RefCell::new(None) };

    /// The request whose handler this thread is polling.
    static HANDLED: Cell<Request> = const { Cell::new(Request::NONE) };
}

/// The request whose handler makes the call that is being made, as far as that is known: what a handler
/// spawns is on its own.
pub(super) fn handled_request() -> Request {
    HANDLED.get()
}

impl Incoming {
    /// Records a request that this crate's driver took from the transport.
    pub(crate) fn receive(
        connection: &Arc<ConnectionTracker>,
        key: RequestKey,
        method_id: u64,
        payload_bytes: usize,
    ) -> Arc<Self> {
        let row = start(connection.row(), key, method_id, payload_bytes);
        let connection = Some(Arc::clone(connection));
        Self::new(row, connection, key, EndedBy::Driver, State::Received)
    }

    fn new(
        row: Request,
        connection: Option<Arc<ConnectionTracker>>,
        key: RequestKey,
        ended_by: EndedBy,
        state: State,
    ) -> Arc<Self> {
        Arc::new(Self {
            row,
            connection,
            key,
            ended_by,
            state: SharedState::new(state),
        })
    }

    /// Calls a dispatcher so that the dispatch helpers below it find this request.
    pub(crate) fn offer<R>(self: &Arc<Self>, dispatch: impl FnOnce() -> R) -> R {
        /// Takes the offer back, from an unwinding dispatcher too.
        struct Offer(Option<Arc<Incoming>>);

        impl Drop for Offer {
            fn drop(&mut self) {
                OFFERED.with_borrow_mut(|offered| *offered = self.0.take());
            }
        }

        let before = OFFERED.with_borrow_mut(|offered| offered.replace(self.clone()));
        let _offer = Offer(before);
        dispatch()
    }

    /// The row of the request that a dispatch helper was called with.
    pub(crate) fn adopt(
        key: RequestKey,
        method_id: u64,
        connection: &Weak<ConnectionTracker>,
        payload_bytes: usize,
    ) -> Arc<Self> {
        let offered = OFFERED.with_borrow(|offered| {
            let offered = offered.as_ref().filter(|offered| offered.key == key);
            offered.cloned()
        });
        if let Some(offered) = offered {
            offered.state.change(State::adopted);
            return offered;
        }
        let connection = connection.upgrade();
        let served_here = |connection: &Arc<ConnectionTracker>| connection.is_served_here();
        let (row, connection, ended_by) = if connection.as_ref().is_some_and(served_here) {
            // A dispatcher that changed the context: the driver has the row of the request.
            (Request::NONE, None, EndedBy::Handler)
        } else {
            let at = connection
                .as_ref()
                .map_or(Connection::NONE, |connection| connection.row());
            match adopt_incoming(key.request_id, method_id) {
                Some(row) => {
                    row.set_connection(at);
                    (row, connection, EndedBy::DiagnosticState)
                }
                None => {
                    let row = start(at, key, method_id, payload_bytes);
                    (row, connection, EndedBy::Handler)
                }
            }
        };
        let request = Self::new(row, connection, key, ended_by, State::Serving);
        if let Some(connection) = &request.connection
            && row != Request::NONE
        {
            let dependent: Weak<Self> = Arc::downgrade(&request);
            connection.add_incoming(row.serial().0, dependent);
        }
        request
    }

    /// Records a channel that the handler sends on.
    pub(crate) fn open_outgoing(&self, channel_id: ChannelId) -> Option<Arc<ChannelTracker>> {
        ChannelTracker::open(
            &Arc::downgrade(self.connection.as_ref()?),
            channel_id,
            ChannelSide::Server,
            ChannelDirection::Tx,
            None,
            self.row,
            u64::MAX,
        )
    }

    pub(crate) fn row(&self) -> Request {
        self.row
    }

    /// Records the arguments, if `ROAM_DEBUG` asks for them: only a dispatch helper knows their types.
    pub(crate) fn record_arguments<T: Facet<'static>>(&self, args: &T) {
        if let Some(arguments) = super::arguments(args) {
            self.row.set_arguments(&arguments);
        }
    }

    /// The response is about to go into the driver's queue.
    pub(crate) fn respond(&self, payload: &[u8]) {
        self.state.change(State::answered);
        let bytes = payload.len() as u64;
        self.row
            .respond(Phase::Responding, outcome_of(payload), bytes);
    }

    /// The response is in the driver's queue.
    pub(crate) fn enqueued(&self) {
        if let Some(connection) = &self.connection {
            connection.enqueued();
        }
    }

    /// The driver took the response. One that no dispatch helper made is reported only now.
    pub(crate) fn taken(&self, payload: &[u8]) {
        if self.state.get() != State::Answered {
            self.enqueued();
            self.respond(payload);
        }
    }

    /// The response was written.
    pub(crate) fn written(&self) {
        self.row.end_as_responded(Outcome::Ok);
    }

    /// The peer cancelled the request. The row stays, marked, until the handler is gone.
    pub(crate) fn cancel(&self) {
        if self.state.change(State::cancelled) {
            self.row.mark(Mark::Orphaned);
        } else {
            // The handler is gone already.
            self.row.end(Outcome::Cancelled);
        }
    }

    /// The connection closed. The row stays, marked, until the handler is gone.
    pub(crate) fn disconnect(&self) {
        if self.state.change(State::disconnected) {
            self.row.mark(Mark::Orphaned);
        }
    }

    /// The handler is gone and did not answer: the row stays until the connection closes.
    fn end_without_answer(&self) {
        if self.state.change(State::unanswered) {
            self.row.mark(Mark::EndedWithoutAnswer);
            self.leave_to_connection();
        }
    }

    fn leave_to_connection(&self) {
        match &self.connection {
            Some(connection) => connection.add_unanswered(self.row),
            None => {
                self.row.end_as_responded(Outcome::NoAnswer);
            }
        }
    }

    /// The handler returned. A dispatcher that bypassed the dispatch helpers may have left the answer to
    /// somebody else.
    fn finish(&self) {
        match (self.state.get(), self.ended_by) {
            (State::Serving, _) => self.end_without_answer(),
            (_, EndedBy::Driver) => {}
            (State::Answered, EndedBy::DiagnosticState) => {
                if self.state.change(State::unanswered) {
                    self.leave_to_connection();
                }
            }
            (state, _) => {
                if let Some(outcome) = state.outcome() {
                    self.row.end_as_responded(outcome);
                }
            }
        }
    }

    fn panic(&self) {
        if matches!(self.state.get(), State::Received | State::Serving) {
            self.end_without_answer();
        }
    }

    /// What watches the handler, if the driver is another crate's. This crate's driver does so itself.
    pub(crate) fn watcher(self: &Arc<Self>) -> Watcher {
        Watcher((self.ended_by != EndedBy::Driver).then(|| Arc::clone(self)))
    }
}

impl EndsWithConnection for Incoming {
    fn connection_closed(&self) {
        self.disconnect();
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(outcome) = self.state.get().outcome() {
            self.row.end(outcome);
        }
        if self.ended_by != EndedBy::Driver
            && let Some(connection) = &self.connection
        {
            connection.forget_incoming(self.row.serial().0);
        }
    }
}

fn start(connection: Connection, key: RequestKey, method_id: u64, payload_bytes: usize) -> Request {
    Request::start(&RequestStart {
        connection,
        request_id: key.request_id,
        method_id,
        direction: Direction::Incoming,
        phase: Phase::Received,
        kind: RequestKind::Call,
        payload_bytes: payload_bytes as u64,
        arguments: None,
        parent: Request::NONE,
    })
}

/// Watches a handler if the driver does not.
pub(crate) struct Watcher(Option<Arc<Incoming>>);

impl Watcher {
    pub(crate) fn watch(self, handler: BoxFuture) -> BoxFuture {
        match self.0 {
            Some(request) => Box::pin(Handler::new(request, handler)),
            None => handler,
        }
    }
}

/// A handler's future that reports when it first runs and how it ends.
pub(crate) struct Handler {
    request: Arc<Incoming>,
    future: BoxFuture,
    state: HandlerState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HandlerState {
    New,
    Polling,
    Waiting,
    Done,
}

impl Handler {
    pub(crate) fn new(request: Arc<Incoming>, future: BoxFuture) -> Self {
        Self {
            request,
            future,
            state: HandlerState::New,
        }
    }
}

impl Future for Handler {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        if self.state == HandlerState::New {
            self.request.row.advance(Phase::Running);
        }
        self.state = HandlerState::Polling;
        let before = HANDLED.replace(self.request.row);
        let poll = self.future.as_mut().poll(cx);
        HANDLED.set(before);
        if poll.is_ready() {
            self.state = HandlerState::Done;
            self.request.finish();
        } else {
            self.state = HandlerState::Waiting;
        }
        poll
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // Still polling: the poll never returned.
        if self.state == HandlerState::Polling {
            HANDLED.set(Request::NONE);
            self.request.panic();
        }
    }
}
