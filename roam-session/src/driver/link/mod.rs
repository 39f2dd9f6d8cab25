//! The protocol of one link, without a runtime and without a transport.
//!
//! The driver reports each event to a [`Link`] through its `handle_*` methods: a
//! message was received, queued, or written. Each returns the [`Action`] that the
//! driver takes next. The rules of the protocol are all here, and so are the ids
//! of virtual connections.

mod queued;
mod received;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use roam_diagnostic::registry::{self, ConnectionState, Phase, Request};
use roam_wire::{ConnectionId, Message};

use super::Negotiated;
use super::connection::LinkConnection;
use super::virtual_connection::{Answer, IncomingConnection};
use crate::record::{
    Announcements, ConnectionTracker, Handler, Incoming, Opening, RawCall, TransportAddress,
};
use crate::registry::Delivery;
use crate::runtime::{AbortHandle, OneshotSender, Sender};
use crate::{
    ConnectError, ConnectionHandle, DriverMessage, Role, ServiceDispatcher, TransportError,
};

pub(super) use received::check_unreadable;

/// The state of one link.
pub(super) struct Link<D> {
    role: Role,
    negotiated: Negotiated,
    dispatcher: D,
    /// For the handles of new connections.
    driver_tx: Sender<DriverMessage>,
    root: LinkConnection,
    virtuals: HashMap<ConnectionId, LinkConnection>,
    /// The id of the next virtual connection that we accept.
    next_conn_id: u64,
    connects: HashMap<u64, PendingConnect>,
    /// Takes the virtual connections that the peer wants to open.
    offers: Sender<IncomingConnection>,
    /// Part of each offer, for its answer.
    answers: Sender<Answer>,
    /// Whether there was ever an offer.
    awaits_answers: bool,
    /// When the driver looked at the clock, if it has not waited for anything since.
    looked_ns: Option<u64>,
}

/// A virtual connection that the peer has not accepted yet.
struct PendingConnect {
    row: Request,
    response_tx: OneshotSender<Result<ConnectionHandle, ConnectError>>,
    dispatcher: Option<Box<dyn ServiceDispatcher>>,
}

/// What a link needs to start with.
pub(super) struct LinkParts<D> {
    pub(super) role: Role,
    pub(super) negotiated: Negotiated,
    pub(super) dispatcher: D,
    pub(super) driver_tx: Sender<DriverMessage>,
    pub(super) offers: Sender<IncomingConnection>,
    pub(super) answers: Sender<Answer>,
    /// The root's row.
    pub(super) tracker: Arc<ConnectionTracker>,
}

/// What to do next.
pub(super) enum Action {
    /// Nothing.
    Wait,
    /// Write a message, and then call [`Link::handle_sent`].
    Send(Outbound),
    /// The same, and run the [`RawCall`].
    SendWatched(Outbound, RawCall),
    /// Run a handler, and then call [`Link::handle_started`].
    Run(Handler, Started),
    /// Read nothing more until the item is delivered.
    Deliver(Delivery),
    /// The peer said Goodbye: the link is over.
    Close,
}

/// A message to be written.
pub(super) struct Outbound {
    pub(super) message: Message,
    receipt: Receipt,
}

/// What to inform when a message was written.
enum Receipt {
    Nobody,
    Caller(Request),
    Request(Arc<Incoming>),
    Acceptor(
        ConnectionHandle,
        OneshotSender<Result<ConnectionHandle, TransportError>>,
    ),
}

/// The request that a handler is run for.
pub(super) struct Started {
    conn_id: ConnectionId,
    request_id: u64,
    request: Arc<Incoming>,
}

/// The rule that a peer broke, as it stands in the Goodbye.
pub(super) type Violation = &'static str;

impl<D: ServiceDispatcher> Link<D> {
    pub(super) fn new(parts: LinkParts<D>) -> Self {
        let root = LinkConnection::new(
            ConnectionId::ROOT,
            &parts.driver_tx,
            parts.role,
            parts.negotiated.initial_credit,
            parts.tracker,
            Announcements::default(),
            None,
        );
        Self {
            role: parts.role,
            negotiated: parts.negotiated,
            dispatcher: parts.dispatcher,
            driver_tx: parts.driver_tx,
            root,
            virtuals: HashMap::new(),
            next_conn_id: 1,
            connects: HashMap::new(),
            offers: parts.offers,
            answers: parts.answers,
            awaits_answers: false,
            looked_ns: None,
        }
    }

    pub(super) fn root_handle(&self) -> &ConnectionHandle {
        &self.root.handle
    }

    /// Whether the program may answer an offer.
    pub(super) fn awaits_answers(&self) -> bool {
        self.awaits_answers
    }

    /// Shows where the transport is in memory, until the result is dropped.
    pub(super) fn publish_transport<T>(&self, transport: &T) -> TransportAddress {
        TransportAddress::publish(&self.root.tracker, transport)
    }

    /// The driver comes round its loop.
    pub(super) fn handle_polled(&mut self) {
        let now_ns = self.looked_ns.take().unwrap_or_else(registry::now_ns);
        self.root.tracker.row().driver_polled(now_ns);
    }

    /// A write to the transport begins or has ended.
    pub(super) fn set_writing(&self, is_writing: bool) {
        self.root.tracker.row().set_writing(is_writing);
    }

    /// A message was written.
    pub(super) fn handle_sent(&mut self, outbound: Outbound) {
        let now_ns = registry::now_ns();
        self.looked_ns = Some(now_ns);
        if let Some(connection) = self.connection(conn_id_of(&outbound.message)) {
            let bytes = payload_bytes_of(&outbound.message);
            connection.tracker.row().message_sent(bytes, now_ns);
        }
        match outbound.receipt {
            Receipt::Nobody => {}
            Receipt::Caller(row) => row.advance_at(Phase::Sent, now_ns),
            Receipt::Request(request) => request.written(),
            Receipt::Acceptor(handle, handle_tx) => {
                // Nobody may want the connection any more; the peer has it all the same.
                let _ = handle_tx.send(Ok(handle));
            }
        }
    }

    /// A handler was spawned, and this aborts it.
    pub(super) fn handle_started(&mut self, started: Started, abort: Option<AbortHandle>) {
        if let Some(connection) = self.connection(started.conn_id) {
            connection.add_request(started.request_id, started.request, abort);
        }
    }

    /// The peer broke a rule: ends everything and returns the Goodbye to be written last.
    pub(super) fn handle_violation(&mut self, rule: Violation) -> Outbound {
        self.abort_all();
        outbound(goodbye(rule))
    }

    /// Opens a virtual connection that both ends agreed on.
    fn open(
        &mut self,
        conn_id: ConnectionId,
        dispatcher: Option<Box<dyn ServiceDispatcher>>,
    ) -> ConnectionHandle {
        let tracker = ConnectionTracker::open(&Opening {
            conn_id,
            role: self.role,
            link: Some(&self.root.tracker),
            transport: None,
            diagnostic_state: None,
            state: ConnectionState::Open,
            served_here: true,
        });
        let announcements = Announcements {
            connects: self.root.announcements.connects.clone(),
            ..Announcements::default()
        };
        let connection = LinkConnection::new(
            conn_id,
            &self.driver_tx,
            self.role,
            self.negotiated.initial_credit,
            tracker,
            announcements,
            dispatcher,
        );
        let handle = connection.handle.clone();
        self.virtuals.insert(conn_id, connection);
        handle
    }

    fn abort_all(&mut self) {
        self.root.abort_all();
        for connection in self.virtuals.values_mut() {
            connection.abort_all();
        }
    }

    fn connection(&mut self, conn_id: ConnectionId) -> Option<&mut LinkConnection> {
        if conn_id.is_root() {
            Some(&mut self.root)
        } else {
            self.virtuals.get_mut(&conn_id)
        }
    }
}

/// The message that names the rule that the peer broke.
pub(super) fn goodbye(rule: Violation) -> Message {
    Message::Goodbye {
        conn_id: ConnectionId::ROOT,
        reason: rule.into(),
    }
}

fn outbound(message: Message) -> Outbound {
    Outbound {
        message,
        receipt: Receipt::Nobody,
    }
}

fn send(message: Message) -> Action {
    Action::Send(outbound(message))
}

/// The connection that a message counts on. What opens connections has none yet and counts on the root.
fn conn_id_of(message: &Message) -> ConnectionId {
    match message {
        Message::Hello(_)
        | Message::Connect { .. }
        | Message::Accept { .. }
        | Message::Reject { .. } => ConnectionId::ROOT,
        Message::Goodbye { conn_id, .. }
        | Message::Request { conn_id, .. }
        | Message::Response { conn_id, .. }
        | Message::Cancel { conn_id, .. }
        | Message::Data { conn_id, .. }
        | Message::Close { conn_id, .. }
        | Message::Reset { conn_id, .. }
        | Message::Credit { conn_id, .. } => *conn_id,
    }
}

/// Payload bytes, which both ends count alike however the transport encodes the rest.
fn payload_bytes_of(message: &Message) -> u64 {
    match message {
        Message::Request { payload, .. }
        | Message::Response { payload, .. }
        | Message::Data { payload, .. } => payload.len() as u64,
        _ => 0,
    }
}
