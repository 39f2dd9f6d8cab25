//! The row of one call that this process makes, and how the driver finds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use futures_util::future::{Either, select};
use roam_diagnostic::registry::{
    Connection, Direction, Outcome, Phase, Request, RequestKind, RequestStart,
};

use super::incoming::handled_request;
use super::{ConnectionTracker, outcome_of};
use crate::runtime::{OneshotReceiver, OneshotSender, abandoned, oneshot};
use crate::{ResponseData, TransportError};

type CallResponse = Result<ResponseData, TransportError>;

/// The rows of calls that were announced to the driver and not taken by it, by request id.
///
/// [`DriverMessage`](crate::DriverMessage) has no field for a row. A call whose caller left after handing it
/// over stays in here, so that the driver does not take it for one that nobody announced.
#[derive(Default)]
pub(crate) struct Announced(Mutex<HashMap<u64, Request>>);

impl Announced {
    /// The row of the call that the driver takes now.
    pub(crate) fn take(&self, request_id: u64) -> Option<Request> {
        self.rows().remove(&request_id)
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<u64, Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where this crate's driver finds the rows of the calls that handles ask it to send.
#[derive(Clone, Default)]
pub(crate) struct Announcements {
    /// Of the connection.
    pub(crate) calls: Arc<Announced>,
    /// Of the link: the message does not say which connection's handle asks for another connection.
    pub(crate) connects: Arc<Announced>,
}

/// Owns the row of a call for its caller: dropped with the caller's future, it ends the row.
pub(crate) struct Outgoing<'a> {
    row: Request,
    request_id: u64,
    announced: Option<&'a Announced>,
    connection: Option<Arc<ConnectionTracker>>,
}

/// What is known of a call when it starts.
pub(crate) struct OutgoingStart<'a> {
    pub(crate) kind: RequestKind,
    pub(crate) request_id: u64,
    pub(crate) method_id: u64,
    pub(crate) payload_bytes: usize,
    pub(crate) arguments: Option<&'a str>,
    /// Whether there is room for it in the driver's queue.
    pub(crate) has_room: bool,
}

impl<'a> Outgoing<'a> {
    /// `announced` where the driver is this crate's.
    pub(crate) fn start(
        connection: Option<Arc<ConnectionTracker>>,
        announced: Option<&'a Announced>,
        start: &OutgoingStart<'_>,
    ) -> Self {
        let request_id = start.request_id;
        let row = Request::start(&RequestStart {
            connection: connection
                .as_ref()
                .map_or(Connection::NONE, |connection| connection.row()),
            request_id,
            method_id: start.method_id,
            direction: Direction::Outgoing,
            phase: if start.has_room {
                Phase::HandedOver
            } else {
                Phase::Queued
            },
            kind: start.kind,
            payload_bytes: start.payload_bytes as u64,
            arguments: start.arguments,
            parent: handled_request(),
        });
        if let Some(announced) = announced {
            announced.rows().insert(request_id, row);
        }
        Self {
            row,
            request_id,
            announced,
            connection,
        }
    }

    pub(crate) fn row(&self) -> Request {
        self.row
    }

    /// The call is in the driver's queue.
    pub(crate) fn handed_over(&mut self) {
        self.announced = None;
        self.row.advance(Phase::HandedOver);
        if let Some(connection) = &self.connection {
            connection.enqueued();
        }
    }

    /// The caller has its answer.
    pub(crate) fn end(self, response: &CallResponse) {
        match response {
            Ok(response) => {
                let outcome = outcome_of(&response.payload);
                if !self.is_reported_by_driver() {
                    let bytes = response.payload.len() as u64;
                    self.row.respond(Phase::Responded, outcome, bytes);
                }
                self.end_with(outcome);
            }
            Err(_) => self.end_with(Outcome::ConnectionClosed),
        }
    }

    /// The caller has its answer, and nobody reported an outcome before.
    pub(crate) fn end_with(mut self, otherwise: Outcome) {
        let row = std::mem::replace(&mut self.row, Request::NONE);
        row.end_as_responded(otherwise);
    }

    /// Whether the driver reports the response when it comes in.
    fn is_reported_by_driver(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.is_served_here())
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        self.row.end(Outcome::Dropped);
        if let Some(announced) = self.announced {
            announced.rows().remove(&self.request_id);
        }
    }
}

/// A call that somebody put into the driver's queue without a handle.
///
/// It stands between the driver and the caller, because only the sender of a response sees that nobody
/// waits for it any more.
pub(crate) struct RawCall {
    row: Request,
    from_driver: OneshotReceiver<CallResponse>,
    to_caller: Option<OneshotSender<CallResponse>>,
}

impl RawCall {
    /// Returns the row, and what the driver is to answer to.
    pub(crate) fn start(
        connection: &ConnectionTracker,
        request_id: u64,
        method_id: u64,
        payload_bytes: usize,
        to_caller: OneshotSender<CallResponse>,
    ) -> (Self, Request, OneshotSender<CallResponse>) {
        let row = Request::start(&RequestStart {
            connection: connection.row(),
            request_id,
            method_id,
            direction: Direction::Outgoing,
            phase: Phase::HandedOver,
            kind: RequestKind::Call,
            payload_bytes: payload_bytes as u64,
            arguments: None,
            parent: Request::NONE,
        });
        let (to_watch, from_driver) = oneshot();
        let call = Self {
            row,
            from_driver,
            to_caller: Some(to_caller),
        };
        (call, row, to_watch)
    }

    /// Passes the response on, and ends the row with it or with its caller.
    pub(crate) async fn watch(mut self) {
        let Some(mut to_caller) = self.to_caller.take() else {
            return;
        };
        let response = {
            let left = std::pin::pin!(abandoned(&mut to_caller));
            match select(&mut self.from_driver, left).await {
                Either::Left((response, _)) => response,
                Either::Right(_) => return,
            }
        };
        match &response {
            Ok(Ok(response)) => self.row.end_as_responded(outcome_of(&response.payload)),
            Ok(Err(_)) | Err(_) => self.row.end(Outcome::ConnectionClosed),
        };
        if let Ok(response) = response {
            // The caller may have left this very moment.
            let _ = to_caller.send(response);
        }
    }
}

impl Drop for RawCall {
    fn drop(&mut self) {
        self.row.end(Outcome::Dropped);
    }
}
