//! What the program sends: the messages in the queue, and its answers to a peer
//! that wants to open connections.

use roam_diagnostic::registry::Request;
use roam_wire::{ConnectionId, Message};

use super::{Action, Link, Outbound, PendingConnect, Receipt, send};
use crate::driver::virtual_connection::Answer;
use crate::record::RawCall;
use crate::{DriverMessage, ServiceDispatcher, TransportError};

impl<D: ServiceDispatcher> Link<D> {
    /// The driver took a message out of the queue.
    pub(in crate::driver) fn handle_queued(&mut self, message: DriverMessage) -> Action {
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

    /// The program answered an offer of a virtual connection.
    pub(in crate::driver) fn handle_answer(&mut self, answer: Answer) -> Action {
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
}
