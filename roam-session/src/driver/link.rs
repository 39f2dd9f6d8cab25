//! The protocol of one link, without a runtime and without a transport.
//!
//! What happens is told to a [`Link`] by its `handle_*` methods: a message came
//! in, something was queued to be sent, a message was written. What they return is
//! to be done by whoever drives the link, one [`Action`] at a time and in order.
//! All rules are here, and so are the ids of virtual connections.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use roam_diagnostic::registry::{ConnectionState, Outcome, Phase, Request};
use roam_wire::{ConnectionId, Message, Metadata, MethodId, RequestId, validate_metadata};

use super::connection::LinkConnection;
use super::virtual_connection::{Answer, IncomingConnection};
use super::{ConnectError, Negotiated};
use crate::dispatch::refusal;
use crate::handle::Announcements;
use crate::record::{ConnectionTracker, Handler, Incoming, Opening, RawCall};
use crate::registry::{Delivery, Routed};
use crate::runtime::{AbortHandle, OneshotSender, Sender};
use crate::{
    ChannelError, ChannelId, ConnectionHandle, Context, DriverMessage, ResponseData, RoamError,
    Role, ServiceDispatcher, TransportError,
};

/// Variants of [`Message`]: the first byte of any other message is not less.
const MESSAGE_VARIANTS: u8 = 12;

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
    /// What the peer wants to open goes here.
    offers: Sender<IncomingConnection>,
    /// For what goes there to be answered.
    answers: Sender<Answer>,
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
    /// Write a message, and then tell [`Link::handle_sent`].
    Send(Outbound),
    /// The same, and look after its caller.
    SendWatched(Outbound, RawCall),
    /// Run a handler, and then tell [`Link::handle_started`].
    Run(Run),
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

/// Who wants to know that a message was written.
enum Receipt {
    Nobody,
    Caller(Request),
    Request(Arc<Incoming>),
    Acceptor(
        ConnectionHandle,
        OneshotSender<Result<ConnectionHandle, TransportError>>,
    ),
}

/// A handler to be run.
pub(super) struct Run {
    pub(super) handler: Handler,
    conn_id: ConnectionId,
    request_id: u64,
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
        }
    }

    pub(super) fn root_handle(&self) -> &ConnectionHandle {
        &self.root.handle
    }

    /// The driver comes round its loop.
    pub(super) fn handle_polled(&self) {
        self.root.tracker.row().driver_polled();
    }

    /// A write to the transport begins or has ended.
    pub(super) fn set_writing(&self, is_writing: bool) {
        self.root.tracker.row().set_writing(is_writing);
    }

    /// Somebody queued something to be sent.
    pub(super) fn handle_queued(&mut self, message: DriverMessage) -> Action {
        self.root.tracker.row().dequeued();
        match message {
            DriverMessage::Call {
                conn_id,
                request_id,
                method_id,
                metadata,
                channels,
                payload,
                response_tx,
            } => {
                let Some(connection) = self.connection(conn_id) else {
                    // The caller may have left.
                    let _ = response_tx.send(Err(TransportError::ConnectionClosed));
                    return Action::Wait;
                };
                let announced = connection.announcements.calls.take(request_id);
                let (row, response_tx, raw) = match announced {
                    Some(row) => (row, response_tx, None),
                    None => {
                        connection.tracker.enqueued();
                        let (raw, row, response_tx) = RawCall::start(
                            &connection.tracker,
                            request_id,
                            method_id,
                            payload.len(),
                            response_tx,
                        );
                        (row, response_tx, Some(raw))
                    }
                };
                connection.add_call(request_id, row, response_tx);
                let message = Message::Request {
                    conn_id,
                    request_id,
                    method_id,
                    metadata,
                    channels,
                    payload,
                };
                let outbound = Outbound {
                    message,
                    receipt: Receipt::Caller(row),
                };
                match raw {
                    Some(raw) => Action::SendWatched(outbound, raw),
                    None => Action::Send(outbound),
                }
            }
            DriverMessage::Data {
                conn_id,
                channel_id,
                payload,
            } => send(Message::Data {
                conn_id,
                channel_id,
                payload,
            }),
            DriverMessage::Close {
                conn_id,
                channel_id,
            } => send(Message::Close {
                conn_id,
                channel_id,
            }),
            DriverMessage::Response {
                conn_id,
                request_id,
                channels,
                payload,
            } => {
                let request = self
                    .connection(conn_id)
                    .and_then(|connection| connection.finish_request(request_id));
                let Some(request) = request else {
                    // Answered before, by a cancellation perhaps.
                    return Action::Wait;
                };
                request.taken(&payload);
                let message = Message::Response {
                    conn_id,
                    request_id,
                    metadata: Vec::new(),
                    channels,
                    payload,
                };
                Action::Send(Outbound {
                    message,
                    receipt: Receipt::Request(request),
                })
            }
            DriverMessage::Connect {
                request_id,
                metadata,
                response_tx,
                dispatcher,
            } => {
                let announced = self.root.announcements.connects.take(request_id);
                let row = announced.unwrap_or(Request::NONE);
                let pending = PendingConnect {
                    row,
                    response_tx,
                    dispatcher,
                };
                self.connects.insert(request_id, pending);
                let message = Message::Connect {
                    request_id,
                    metadata,
                };
                Action::Send(Outbound {
                    message,
                    receipt: Receipt::Caller(row),
                })
            }
        }
    }

    /// The program answered to what the peer wanted to open.
    pub(super) fn handle_answer(&mut self, answer: Answer) -> Action {
        match answer {
            Answer::Accept {
                request_id,
                metadata,
                dispatcher,
                handle_tx,
            } => {
                let conn_id = ConnectionId::new(self.next_conn_id);
                self.next_conn_id += 1;
                let handle = self.open(conn_id, dispatcher);
                let message = Message::Accept {
                    request_id,
                    conn_id,
                    metadata,
                };
                Action::Send(Outbound {
                    message,
                    receipt: Receipt::Acceptor(handle, handle_tx),
                })
            }
            Answer::Reject {
                request_id,
                reason,
                metadata,
            } => send(Message::Reject {
                request_id,
                reason,
                metadata,
            }),
        }
    }

    /// A message was written.
    pub(super) fn handle_sent(&mut self, outbound: Outbound) {
        if let Some(connection) = self.connection(conn_id_of(&outbound.message)) {
            let bytes = payload_bytes_of(&outbound.message);
            connection.tracker.row().message_sent(bytes);
        }
        match outbound.receipt {
            Receipt::Nobody => {}
            Receipt::Caller(row) => row.advance(Phase::Sent),
            Receipt::Request(request) => request.written(),
            Receipt::Acceptor(handle, handle_tx) => {
                // Nobody may want the connection any more; the peer has it all the same.
                let _ = handle_tx.send(Ok(handle));
            }
        }
    }

    /// A handler was spawned.
    pub(super) fn handle_started(
        &mut self,
        conn_id: ConnectionId,
        request_id: u64,
        abort: AbortHandle,
    ) {
        if let Some(connection) = self.connection(conn_id) {
            connection.set_abort(request_id, abort);
        }
    }

    /// A message came in.
    ///
    /// # Errors
    ///
    /// The rule that it breaks: [`Self::handle_violation`] is next.
    pub(super) fn handle_message(&mut self, message: Message) -> Result<Action, Violation> {
        if let Message::Hello(_) = message {
            // The handshake is over: a second one means nothing.
            return Ok(Action::Wait);
        }
        if let Some(connection) = self.connection(conn_id_of(&message)) {
            let bytes = payload_bytes_of(&message);
            connection.tracker.row().message_received(bytes);
        }
        match message {
            Message::Hello(_) => {}
            Message::Connect {
                request_id,
                metadata,
            } => return Ok(self.handle_connect(request_id, metadata)),
            Message::Accept {
                request_id,
                conn_id,
                metadata: _,
            } => {
                if let Some(pending) = self.connects.remove(&request_id) {
                    let handle = self.open(conn_id, pending.dispatcher);
                    pending.row.respond(Phase::Responded, Outcome::Ok, 0);
                    // Nobody may want the connection any more; the peer has it all the same.
                    let _ = pending.response_tx.send(Ok(handle));
                }
            }
            Message::Reject {
                request_id,
                reason,
                metadata: _,
            } => {
                if let Some(pending) = self.connects.remove(&request_id) {
                    pending.row.respond(Phase::Responded, Outcome::UserError, 0);
                    // The caller may have left.
                    let _ = pending
                        .response_tx
                        .send(Err(ConnectError::Rejected(reason)));
                }
            }
            Message::Goodbye { conn_id, reason: _ } => {
                if conn_id.is_root() {
                    self.abort_all();
                    return Ok(Action::Close);
                }
                if let Some(mut connection) = self.virtuals.remove(&conn_id) {
                    connection.abort_all();
                }
            }
            Message::Request {
                conn_id,
                request_id,
                method_id,
                metadata,
                channels,
                payload,
            } => {
                let cx = Context::new(
                    conn_id,
                    RequestId::new(request_id),
                    MethodId::new(method_id),
                    metadata,
                    channels,
                );
                return self.handle_request(&cx, payload);
            }
            Message::Response {
                conn_id,
                request_id,
                metadata: _,
                channels,
                payload,
            } => {
                if let Some(connection) = self.connection(conn_id) {
                    connection.answer_call(request_id, ResponseData { payload, channels });
                }
            }
            Message::Cancel {
                conn_id,
                request_id,
            } => return Ok(self.handle_cancel(conn_id, request_id)),
            Message::Data {
                conn_id,
                channel_id,
                payload,
            } => return self.handle_data(conn_id, channel_id, payload),
            Message::Close {
                conn_id,
                channel_id,
            } => {
                if channel_id == 0 {
                    return Err("channeling.id.zero-reserved");
                }
                let connection = self.connection(conn_id).ok_or("message.conn-id")?;
                if !connection.close_channel(channel_id) {
                    return Err("channeling.unknown");
                }
            }
            Message::Reset {
                conn_id,
                channel_id,
            } => {
                if let Some(connection) = self.connection(conn_id) {
                    connection.close_channel(channel_id);
                }
            }
            Message::Credit {
                conn_id,
                channel_id,
                bytes,
            } => {
                if let Some(connection) = self.connection(conn_id) {
                    connection.receive_credit(channel_id, bytes);
                }
            }
        }
        Ok(Action::Wait)
    }

    /// The peer broke a rule: ends everything and returns the Goodbye to be written last.
    pub(super) fn handle_violation(&mut self, rule: Violation) -> Outbound {
        self.abort_all();
        outbound(goodbye(rule))
    }

    fn handle_connect(&mut self, request_id: u64, metadata: Metadata) -> Action {
        let offer = IncomingConnection {
            metadata,
            request_id,
            answers: self.answers.clone(),
        };
        match self.offers.try_send(offer) {
            Ok(()) => Action::Wait,
            // Nobody listens, or too many wait already.
            Err(_) => send(Message::Reject {
                request_id,
                reason: "not listening".into(),
                metadata: Vec::new(),
            }),
        }
    }

    fn handle_request(&mut self, cx: &Context, payload: Vec<u8>) -> Result<Action, Violation> {
        let limit = self.negotiated.max_payload_size;
        let (conn_id, request_id) = (cx.conn_id, cx.request_id.raw());
        // Not through `connection`, because the link's dispatcher is needed beside it.
        let connection = if conn_id.is_root() {
            &mut self.root
        } else {
            self.virtuals.get_mut(&conn_id).ok_or("message.conn-id")?
        };
        if connection.is_serving(request_id) {
            return Err("call.request-id.duplicate-detection");
        }
        validate_metadata(&cx.metadata)?;
        check_payload(&payload, limit)?;
        let request = Incoming::receive(
            &connection.tracker,
            conn_id,
            request_id,
            cx.method_id.raw(),
            payload.len(),
        );
        let dispatcher: &dyn ServiceDispatcher = match &connection.dispatcher {
            Some(own) => &**own,
            None => &self.dispatcher,
        };
        let handler = request.offer(|| dispatcher.dispatch(cx, payload, &mut connection.channels));
        connection.add_request(request_id, request.clone());
        Ok(Action::Run(Run {
            handler: Handler::new(request, handler),
            conn_id,
            request_id,
        }))
    }

    fn handle_cancel(&mut self, conn_id: ConnectionId, request_id: u64) -> Action {
        let cancelled = self
            .connection(conn_id)
            .is_some_and(|connection| connection.cancel_request(request_id));
        if !cancelled {
            // Answered already.
            return Action::Wait;
        }
        send(Message::Response {
            conn_id,
            request_id,
            metadata: Vec::new(),
            channels: Vec::new(),
            payload: refusal(&RoamError::Cancelled),
        })
    }

    fn handle_data(
        &mut self,
        conn_id: ConnectionId,
        channel_id: ChannelId,
        payload: Vec<u8>,
    ) -> Result<Action, Violation> {
        if channel_id == 0 {
            return Err("channeling.id.zero-reserved");
        }
        check_payload(&payload, self.negotiated.max_payload_size)?;
        let connection = self.connection(conn_id).ok_or("message.conn-id")?;
        match connection.route(channel_id, payload) {
            Ok(Routed::Delivered) => Ok(Action::Wait),
            Ok(Routed::Full(delivery)) => Ok(Action::Deliver(delivery)),
            Err(ChannelError::Unknown) => Err("channeling.unknown"),
            Err(ChannelError::DataAfterClose) => Err("channeling.data-after-close"),
            Err(ChannelError::CreditOverrun) => Err("flow.channel.credit-overrun"),
        }
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

impl Run {
    /// What to run, and what [`Link::handle_started`] wants to know.
    pub(super) fn into_parts(self) -> (Handler, ConnectionId, u64) {
        (self.handler, self.conn_id, self.request_id)
    }
}

/// What came in is no message, or the transport failed.
///
/// # Errors
///
/// The rule that `frame`, the bytes of the last frame, breaks. `Ok` where the transport failed by itself.
pub(super) fn check_unreadable(frame: &[u8], error: &io::Error) -> Result<(), Violation> {
    match frame {
        [0, version, ..] if *version != 0 => Err("message.hello.unknown-version"),
        [variant, ..] if *variant >= MESSAGE_VARIANTS => Err("message.unknown-variant"),
        _ if error.kind() == io::ErrorKind::InvalidData => Err("message.decode-error"),
        _ => Ok(()),
    }
}

/// The message that tells a peer which rule it broke.
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

fn check_payload(payload: &[u8], limit: u32) -> Result<(), Violation> {
    match u32::try_from(payload.len()) {
        Ok(bytes) if bytes <= limit => Ok(()),
        _ => Err("flow.call.payload-limit"),
    }
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
