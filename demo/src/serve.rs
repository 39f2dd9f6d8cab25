//! The handlers: a little work and a response, or the behavior that the ticket orders.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rand::Rng;
use roam::session::ConnectionHandle;
use roam::{Context, Rx, Tx};
use tokio::sync::watch;

use crate::clock::Moment;
use crate::control::Report;
use crate::expect::{ChannelDirection, Direction, ExpectedChannel, ExpectedRequest, Phase};
use crate::log::{Event, Span, Witness};
use crate::service::{
    Archive, Assets, Behavior, ContentError, ContentService, Markdown, MarkdownClient, TcpTunnel,
    Ticket, method,
};

/// Chunks that a tunnel sends back before it stalls.
pub(crate) const TUNNEL_STALLS_AFTER: u64 = 5;
/// Items that an upload reads before it stalls.
pub(crate) const UPLOAD_STALLS_AFTER: u64 = 3;
/// The longest a handler pretends to work.
const LONGEST_WORK_MS: u64 = 15;
/// A route that no cell knows.
pub(crate) const UNKNOWN_ROUTE: &str = "/missing";

/// What the handlers of one cell share.
pub(crate) struct CellState {
    pub(crate) witness: Witness,
    /// Sends a report to the host.
    pub(crate) report: Box<dyn Fn(&Report) + Send + Sync>,
    /// The cell that this one can call.
    pub(crate) next: OnceLock<NextCell>,
    /// Held or needed by calls of some behaviors.
    pub(crate) lock: tokio::sync::Mutex<()>,
    /// True once calls that are held may answer.
    pub(crate) released: watch::Sender<bool>,
    pub(crate) watchers: AtomicU32,
}

/// A link to another cell and its name.
#[derive(Clone)]
pub(crate) struct NextCell {
    pub(crate) name: String,
    pub(crate) handle: ConnectionHandle,
}

/// An outgoing call of this process that stays where `phase` says.
pub(crate) fn outgoing(
    witness: &Witness,
    connection: &str,
    method: &str,
    ticket: Ticket,
    phase: Phase,
) -> ExpectedRequest {
    let since = Moment::now();
    ExpectedRequest {
        pid: witness.pid,
        direction: Direction::Outgoing,
        method: method.to_owned(),
        phase,
        connection: Some(connection.to_owned()),
        request_id: None,
        tag: ticket.tag,
        since_monotonic_ns: since.monotonic_ns,
        since_unix_ms: since.unix_ms,
    }
}

impl CellState {
    /// Waits until calls that are held may go on.
    async fn released(&self) {
        // The sender lives in the state that the handler borrows.
        let _ = self
            .released
            .subscribe()
            .wait_for(|released| *released)
            .await;
    }
}

/// The handlers of a cell, for one connection.
#[derive(Clone)]
pub(crate) struct CellServices {
    pub(crate) cell: Arc<CellState>,
    pub(crate) connection: Arc<str>,
}

/// A call that reached its handler.
struct Invocation<'a> {
    services: &'a CellServices,
    ticket: Ticket,
    method: &'static str,
    request_id: u64,
    span: Span<'a>,
}

impl CellServices {
    fn enter(&self, cx: &Context, method: &'static str, ticket: Ticket) -> Invocation<'_> {
        Invocation {
            services: self,
            ticket,
            method,
            request_id: cx.request_id().raw(),
            span: self.cell.witness.span(
                Direction::Incoming,
                method,
                ticket.tag,
                Some((&self.connection, cx.request_id().raw())),
            ),
        }
    }
}

impl Invocation<'_> {
    /// Does what the ticket orders.
    async fn work(&self) {
        let cell = &self.services.cell;
        match self.ticket.behavior {
            Behavior::Answer => small_work().await,
            Behavior::Stall => self.stall(Vec::new()).await,
            Behavior::Relay => {
                self.report_stuck(Vec::new());
                self.ask_next(Behavior::Stall).await;
            }
            Behavior::Hold => {
                self.report_stuck(Vec::new());
                cell.released().await;
            }
            Behavior::Panic => {
                self.report_stuck(Vec::new());
                panic!("asked to panic");
            }
            Behavior::Lock => {
                let _locked = cell.lock.lock().await;
                self.report_stuck(Vec::new());
                cell.released().await;
                self.ask_next(Behavior::NeedLock).await;
            }
            Behavior::NeedLock => {
                self.report_stuck(Vec::new());
                drop(cell.lock.lock().await);
            }
        }
    }

    async fn stall(&self, channels: Vec<ExpectedChannel>) -> ! {
        self.report_stuck(channels);
        std::future::pending::<()>().await;
        unreachable!("a pending future is never ready")
    }

    /// Calls the next cell.
    async fn ask_next(&self, behavior: Behavior) {
        let cell = &self.services.cell;
        let Some(next) = cell.next.get() else {
            return (cell.report)(&Report::Failed {
                error: "asked to call the next cell, but there is none".to_owned(),
            });
        };
        let ticket = cell.witness.ticket(behavior);
        (cell.report)(&Report::Stuck {
            request: outgoing(
                &cell.witness,
                &next.name,
                method::CONVERT,
                ticket,
                Phase::Sent,
            ),
            channels: Vec::new(),
        });
        let client = MarkdownClient::new(next.handle.clone());
        let result = cell
            .witness
            .call(method::CONVERT, ticket, |ticket| {
                client.convert(ticket, "# Title".to_owned())
            })
            .await;
        (cell.report)(&Report::Failed {
            error: format!("{} ended: {result:?}", method::CONVERT),
        });
    }

    fn report_stuck(&self, channels: Vec<ExpectedChannel>) {
        let cell = &self.services.cell;
        (cell.report)(&Report::Stuck {
            request: ExpectedRequest {
                pid: cell.witness.pid,
                direction: Direction::Incoming,
                method: self.method.to_owned(),
                phase: Phase::Running,
                connection: Some(self.services.connection.to_string()),
                request_id: Some(self.request_id),
                tag: self.ticket.tag,
                since_monotonic_ns: self.span.started.monotonic_ns,
                since_unix_ms: self.span.started.unix_ms,
            },
            channels,
        });
    }

    /// A channel of this call that stays open.
    fn channel(
        &self,
        channel_id: u64,
        direction: ChannelDirection,
        element: &str,
    ) -> ExpectedChannel {
        ExpectedChannel {
            pid: self.services.cell.witness.pid,
            channel_id,
            direction,
            element: element.to_owned(),
            method: self.method.to_owned(),
            connection: self.services.connection.to_string(),
            request_id: self.request_id,
            items: None,
            payload_bytes: None,
        }
    }
}

impl ContentService for CellServices {
    async fn find_content(&self, cx: &Context, ticket: Ticket, route: String) -> String {
        let invocation = self.enter(cx, method::FIND_CONTENT, ticket);
        invocation.work().await;
        invocation.span.end(Event::Ok);
        format!("content{route}.md")
    }

    async fn compile(
        &self,
        cx: &Context,
        ticket: Ticket,
        route: String,
    ) -> Result<Vec<u8>, ContentError> {
        let invocation = self.enter(cx, method::COMPILE, ticket);
        invocation.work().await;
        if route == UNKNOWN_ROUTE {
            invocation.span.end(Event::UserError);
            return Err(ContentError::NotFound);
        }
        invocation.span.end(Event::Ok);
        Ok(route.into_bytes().repeat(16))
    }

    async fn watch(&self, cx: &Context, ticket: Ticket, watchers: u32) -> u64 {
        let _invocation = self.enter(cx, method::WATCH, ticket);
        if self.cell.watchers.fetch_add(1, Ordering::Relaxed) + 1 == watchers {
            (self.cell.report)(&Report::Watched);
        }
        std::future::pending().await
    }
}

impl Markdown for CellServices {
    async fn convert(&self, cx: &Context, ticket: Ticket, source: String) -> String {
        let invocation = self.enter(cx, method::CONVERT, ticket);
        invocation.work().await;
        invocation.span.end(Event::Ok);
        format!("<p>{source}</p>")
    }
}

impl TcpTunnel for CellServices {
    async fn open(
        &self,
        cx: &Context,
        ticket: Ticket,
        outbound: Tx<Vec<u8>>,
        mut inbound: Rx<Vec<u8>>,
    ) -> u64 {
        let invocation = self.enter(cx, method::OPEN, ticket);
        let (mut chunks, mut bytes, mut payload_bytes) = (0, 0, 0);
        while let Ok(Some(chunk)) = inbound.recv().await {
            // The caller may have stopped listening; what it sent counts all the same.
            let _ = outbound.send(&chunk).await;
            chunks += 1;
            bytes += chunk.len() as u64;
            payload_bytes += postcard_bytes(&chunk);
            if ticket.behavior == Behavior::Stall && chunks == TUNNEL_STALLS_AFTER {
                let both = [
                    (outbound.channel_id(), ChannelDirection::Tx),
                    (inbound.channel_id(), ChannelDirection::Rx),
                ];
                let channels = both.map(|(id, direction)| ExpectedChannel {
                    items: Some(chunks),
                    payload_bytes: Some(payload_bytes),
                    ..invocation.channel(id, direction, "Vec<u8>")
                });
                invocation.stall(channels.to_vec()).await;
            }
        }
        invocation.span.end(Event::Ok);
        bytes
    }

    async fn upload(&self, cx: &Context, ticket: Ticket, mut items: Rx<u8>) -> u64 {
        let invocation = self.enter(cx, method::UPLOAD, ticket);
        let mut count = 0;
        while let Ok(Some(_)) = items.recv().await {
            count += 1;
            if ticket.behavior == Behavior::Stall && count == UPLOAD_STALLS_AFTER {
                let channel = invocation.channel(items.channel_id(), ChannelDirection::Rx, "u8");
                invocation.stall(vec![channel]).await;
            }
        }
        invocation.span.end(Event::Ok);
        count
    }
}

impl Archive for CellServices {
    async fn fetch(&self, cx: &Context, ticket: Ticket, route: String) -> Vec<u8> {
        let invocation = self.enter(cx, method::FETCH, ticket);
        invocation.work().await;
        invocation.span.end(Event::Ok);
        route.into_bytes()
    }
}

/// What a handler does before it answers.
async fn small_work() {
    let work = rand::rng().random_range(0..=LONGEST_WORK_MS);
    tokio::time::sleep(Duration::from_millis(work)).await;
}

/// Serialized size of a chunk: its length as a variable-length integer, and its bytes.
fn postcard_bytes(chunk: &[u8]) -> u64 {
    let length_bits = usize::BITS - chunk.len().leading_zeros();
    u64::from(length_bits.div_ceil(7).max(1)) + chunk.len() as u64
}

/// The handlers of the host.
#[derive(Clone)]
pub(crate) struct HostServices {
    pub(crate) witness: Arc<Witness>,
}

impl Assets for HostServices {
    async fn resolve(&self, _cx: &Context, ticket: Ticket, name: String) -> String {
        let span = self
            .witness
            .span(Direction::Incoming, method::RESOLVE, ticket.tag, None);
        small_work().await;
        span.end(Event::Ok);
        format!("/static/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_bytes_are_those_of_postcard() {
        for length in [0, 1, 127, 128, 200, 16_383, 16_384] {
            let chunk = vec![7; length];
            let serialized = roam::__private::facet_postcard::to_vec(&chunk).expect("serializes");
            assert_eq!(postcard_bytes(&chunk), serialized.len() as u64, "{length}");
        }
    }
}
