//! What the peer sends, and the rules that it may break by it.

use std::io;

use roam_diagnostic::registry::{self, Outcome, Phase};
use roam_wire::{ConnectionId, Message, Metadata, MethodId, RequestId, validate_metadata};

use super::{Action, Link, Started, Violation, conn_id_of, payload_bytes_of, send};
use crate::driver::virtual_connection::IncomingConnection;
use crate::payload::refusal;
use crate::record::{Handler, Incoming, RequestKey};
use crate::registry::Routed;
use crate::{
    ChannelError, ChannelId, ConnectError, Context, ResponseData, RoamError, ServiceDispatcher,
};

/// Variants of [`Message`]: the first byte of any other message is not less.
const MESSAGE_VARIANTS: u8 = 12;

impl<D: ServiceDispatcher> Link<D> {
    /// A message was received.
    ///
    /// # Errors
    ///
    /// Returns the rule that the message breaks. Call [`Self::handle_violation`] next.
    pub(in crate::driver) fn handle_message(
        &mut self,
        message: Message,
    ) -> Result<Action, Violation> {
        if let Message::Hello(_) = message {
            // The handshake is over: a second one means nothing.
            return Ok(Action::Wait);
        }
        let now_ns = registry::now_ns();
        self.looked_ns = Some(now_ns);
        if let Some(connection) = self.connection(conn_id_of(&message)) {
            let bytes = payload_bytes_of(&message);
            connection.tracker.row().message_received(bytes, now_ns);
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
                    connection.answer_call(request_id, ResponseData { payload, channels }, now_ns);
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

    fn handle_connect(&mut self, request_id: u64, metadata: Metadata) -> Action {
        let offer = IncomingConnection {
            metadata,
            request_id,
            answers: self.answers.clone(),
        };
        match self.offers.try_send(offer) {
            Ok(()) => {
                self.awaits_answers = true;
                Action::Wait
            }
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
            RequestKey {
                conn_id,
                request_id,
            },
            cx.method_id.raw(),
            payload.len(),
        );
        let dispatcher: &dyn ServiceDispatcher = match &connection.dispatcher {
            Some(own) => &**own,
            None => &self.dispatcher,
        };
        let handler = request.offer(|| dispatcher.dispatch(cx, payload, &mut connection.channels));
        Ok(Action::Run(
            Handler::new(request.clone(), handler),
            Started {
                conn_id,
                request_id,
                request,
            },
        ))
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
            Ok(Routed::Full(delivery)) => {
                self.looked_ns = None;
                Ok(Action::Deliver(delivery))
            }
            Err(ChannelError::Unknown) => Err("channeling.unknown"),
            Err(ChannelError::DataAfterClose) => Err("channeling.data-after-close"),
            Err(ChannelError::CreditOverrun) => Err("flow.channel.credit-overrun"),
        }
    }
}

/// What was received is not a message, or the transport failed.
///
/// # Errors
///
/// Returns the rule that `frame`, the bytes of the last frame, breaks. `Ok` if the transport failed by itself.
pub(in crate::driver) fn check_unreadable(
    frame: &[u8],
    error: &io::Error,
) -> Result<(), Violation> {
    match frame {
        [0, version, ..] if *version != 0 => Err("message.hello.unknown-version"),
        [variant, ..] if *variant >= MESSAGE_VARIANTS => Err("message.unknown-variant"),
        _ if error.kind() == io::ErrorKind::InvalidData => Err("message.decode-error"),
        _ => Ok(()),
    }
}

fn check_payload(payload: &[u8], limit: u32) -> Result<(), Violation> {
    match u32::try_from(payload.len()) {
        Ok(bytes) if bytes <= limit => Ok(()),
        _ => Err("flow.call.payload-limit"),
    }
}
