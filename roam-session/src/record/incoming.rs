//! The row of one request that came in, from the driver through the dispatcher
//! and the handler to the response.
//!
//! The driver makes the row and [offers](Incoming::offer) it while it calls the
//! dispatcher; the dispatch helpers [adopt](Incoming::adopt) it. On a driver of
//! another crate nothing is offered: the helpers adopt the row that the
//! connection's `DiagnosticState` was told in the same poll, or make one.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;

use roam_diagnostic::registry::{
    ChannelDirection, ChannelSide, Connection, Direction, Mark, Outcome, Phase, Request,
    RequestKind, RequestStart,
};
use roam_wire::ConnectionId;

use super::{ChannelTracker, ConnectionTracker, outcome_of};
use crate::diagnostic::adopt_incoming;
use crate::{ChannelId, ChannelRegistry, Context};

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Owns the row of an incoming request. Driver and handler hold one each; the row ends with the last of
/// them, if nothing ended it before.
pub(crate) struct Incoming {
    row: Request,
    connection: Option<Arc<ConnectionTracker>>,
    conn_id: ConnectionId,
    request_id: u64,
    ending: Ending,
    /// Whether one of this crate's dispatch helpers serves it.
    is_adopted: AtomicBool,
    is_answered: AtomicBool,
    /// Whether somebody else ends the row.
    is_kept: AtomicBool,
    /// The `Outcome` code where nothing else tells one.
    otherwise: AtomicU32,
}

/// Who ends the row of a request that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// This crate's driver, after the response was written.
    Driver,
    /// The handler, once the response is queued: the driver is not ours.
    Handler,
    /// The `DiagnosticState` that the driver tells.
    State,
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
        conn_id: ConnectionId,
        request_id: u64,
        method_id: u64,
        payload_bytes: usize,
    ) -> Arc<Self> {
        let row = start(
            connection.row(),
            request_id,
            method_id,
            payload_bytes as u64,
        );
        Self::new(
            row,
            Some(connection.clone()),
            (conn_id, request_id),
            Ending::Driver,
        )
    }

    fn new(
        row: Request,
        connection: Option<Arc<ConnectionTracker>>,
        (conn_id, request_id): (ConnectionId, u64),
        ending: Ending,
    ) -> Arc<Self> {
        Arc::new(Self {
            row,
            connection,
            conn_id,
            request_id,
            ending,
            is_adopted: AtomicBool::new(ending != Ending::Driver),
            is_answered: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
            otherwise: AtomicU32::new(Outcome::Aborted.code()),
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
        cx: &Context,
        registry: &ChannelRegistry,
        payload_bytes: usize,
    ) -> Arc<Self> {
        let id = (cx.conn_id, cx.request_id.raw());
        let offered = OFFERED.with_borrow(|offered| {
            offered
                .as_ref()
                .filter(|offered| (offered.conn_id, offered.request_id) == id)
                .cloned()
        });
        if let Some(offered) = offered {
            offered.is_adopted.store(true, Ordering::Relaxed);
            return offered;
        }
        let connection = registry.connection().upgrade();
        if connection
            .as_ref()
            .is_some_and(|connection| connection.is_served_here())
        {
            // A dispatcher that changed the context: the driver has the row of what came in.
            return Self::new(Request::NONE, None, id, Ending::Handler);
        }
        let method_id = cx.method_id.raw();
        let told = adopt_incoming(id.1, method_id);
        let at = connection
            .as_ref()
            .map_or(Connection::NONE, |connection| connection.row());
        let (row, ending) = match told {
            Some(row) => {
                row.set_connection(at);
                (row, Ending::State)
            }
            None => (
                start(at, id.1, method_id, payload_bytes as u64),
                Ending::Handler,
            ),
        };
        let request = Self::new(row, connection, id, ending);
        if let Some(connection) = &request.connection
            && row != Request::NONE
        {
            connection.add_incoming(row.serial().0, Arc::downgrade(&request));
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

    /// The response is about to go into the driver's queue.
    pub(crate) fn respond(&self, payload: &[u8]) {
        self.is_answered.store(true, Ordering::Relaxed);
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

    /// The driver took the response. Where no dispatch helper made it, nobody has told of it.
    pub(crate) fn taken(&self, payload: &[u8]) {
        if !self.is_answered.load(Ordering::Relaxed) {
            self.enqueued();
            self.respond(payload);
        }
    }

    /// The response was written.
    pub(crate) fn written(&self) {
        self.row.end_as_responded(Outcome::Ok);
    }

    /// The driver gives the request up. Its row stays, marked, until the handler is gone.
    pub(crate) fn abandon(&self, reason: Outcome) {
        if !self.is_kept.load(Ordering::Relaxed) {
            self.otherwise.store(reason.code(), Ordering::Relaxed);
            self.row.mark(Mark::Orphaned);
        } else if reason == Outcome::Cancelled {
            self.row.end(reason);
        }
    }

    /// The handler is gone and did not answer: the row stays until the connection closes.
    pub(crate) fn end_without_answer(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
        self.row.mark(Mark::EndedWithoutAnswer);
        match &self.connection {
            Some(connection) => connection.keep_request(self.row),
            None => {
                self.row.end(Outcome::NoAnswer);
            }
        }
    }

    /// The handler returned. A dispatcher that bypassed the dispatch helpers may have left the answer to
    /// somebody else.
    fn finish(&self) {
        let is_answered = self.is_answered.load(Ordering::Relaxed);
        if !is_answered && self.is_adopted.load(Ordering::Relaxed) {
            self.end_without_answer();
        } else if self.ending == Ending::Handler {
            self.row.end_as_responded(Outcome::Aborted);
        } else if self.ending == Ending::State
            && let Some(connection) = &self.connection
        {
            self.is_kept.store(true, Ordering::Relaxed);
            connection.keep_request(self.row);
        }
    }

    fn panic(&self) {
        if !self.is_answered.load(Ordering::Relaxed) {
            self.end_without_answer();
        }
    }

    /// On a driver of another crate, watches the handler in its place. This crate's driver does so itself.
    pub(crate) fn watch(self: &Arc<Self>, handler: BoxFuture) -> BoxFuture {
        match self.ending {
            Ending::Driver => handler,
            Ending::Handler | Ending::State => Box::pin(Handler::new(self.clone(), handler)),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            let outcome = Outcome::from_code(*self.otherwise.get_mut());
            self.row.end(outcome.unwrap_or(Outcome::Aborted));
        }
        if self.ending != Ending::Driver
            && let Some(connection) = &self.connection
        {
            connection.forget_incoming(self.row.serial().0);
        }
    }
}

fn start(connection: Connection, request_id: u64, method_id: u64, payload_bytes: u64) -> Request {
    Request::start(&RequestStart {
        connection,
        request_id,
        method_id,
        direction: Direction::Incoming,
        phase: Phase::Received,
        kind: RequestKind::Call,
        payload_bytes,
        arguments: None,
        parent: Request::NONE,
    })
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
