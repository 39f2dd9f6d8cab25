//! Runs a link: the one file that waits for the queue, the program's answers and
//! the transport, spawns handlers, and writes. [`Link`] has the protocol.

use std::io;
use std::pin::pin;
use std::task::Poll;

use futures_util::future::poll_fn;
use roam_wire::Message;

use super::ConnectionError;
use super::link::{Action, Link, Outbound, Violation, check_unreadable};
use super::virtual_connection::Answer;
use crate::runtime::{Receiver, spawn, spawn_with_abort};
use crate::{ConnectionHandle, DriverMessage, MessageTransport, ServiceDispatcher};

/// Moves the messages of one link. Nothing happens on the link unless it runs.
pub struct Driver<T, D> {
    io: T,
    link: Link<D>,
    queue: Receiver<DriverMessage>,
    answers: Receiver<Answer>,
    /// Whether to read first if there is a message to read and one to write.
    reads_first: bool,
}

/// An event that the driver waits for.
enum Event {
    Queued(DriverMessage),
    Answered(Answer),
    Received(io::Result<Option<Message>>),
}

/// Whether the link goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

impl<T, D> Driver<T, D>
where
    T: MessageTransport,
    D: ServiceDispatcher,
{
    pub(super) fn new(
        io: T,
        link: Link<D>,
        queue: Receiver<DriverMessage>,
        answers: Receiver<Answer>,
    ) -> Self {
        Self {
            io,
            link,
            queue,
            answers,
            reads_first: true,
        }
    }

    /// Returns the handle of the root connection.
    pub fn root_handle(&self) -> ConnectionHandle {
        self.link.root_handle().clone()
    }

    /// Runs the link until the peer closes it.
    ///
    /// # Errors
    ///
    /// Fails if the transport fails, or if the peer breaks a rule of the protocol.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime when a request arrives, because a task runs its handler.
    pub async fn run(mut self) -> Result<(), ConnectionError> {
        // From its first poll on the future stays where it is, and drops this before the transport.
        let _address = self.link.publish_transport(&self.io);
        loop {
            self.link.handle_polled();
            let event = self.next_event().await;
            self.reads_first = !matches!(event, Event::Received(_));
            let next = match event {
                Event::Queued(message) => {
                    let action = self.link.handle_queued(message);
                    self.act(action).await?
                }
                Event::Answered(answer) => {
                    let action = self.link.handle_answer(answer);
                    self.act(action).await?
                }
                Event::Received(received) => self.take(received).await?,
            };
            if next == Next::Stop {
                return Ok(());
            }
        }
    }

    /// Waits for the first event. If there is a message to read and one to write, they take turns.
    ///
    /// An end reads nothing while its write waits for room. Two ends that preferred writing would fill the
    /// transport in both directions and wait for each other for ever. An end that preferred reading would fill
    /// its own queue with what forwarders put there, while it delivers to them and they wait for the queue.
    ///
    /// The queue is polled by its future and never by `try_recv`. The future yields to the runtime now and
    /// then; otherwise a driver with much to write would not learn that there is something to read.
    async fn next_event(&mut self) -> Event {
        let reads_first = self.reads_first;
        let awaits_answers = self.link.awaits_answers();
        let mut queued = pin!(self.queue.recv());
        let mut answered = pin!(self.answers.recv());
        let mut received = pin!(self.io.recv());
        poll_fn(|cx| {
            if reads_first && let Poll::Ready(received) = received.as_mut().poll(cx) {
                return Poll::Ready(Event::Received(received));
            }
            // The link holds a sender of either queue, so neither ends.
            if let Poll::Ready(Some(message)) = queued.as_mut().poll(cx) {
                return Poll::Ready(Event::Queued(message));
            }
            if awaits_answers && let Poll::Ready(Some(answer)) = answered.as_mut().poll(cx) {
                return Poll::Ready(Event::Answered(answer));
            }
            if reads_first {
                return Poll::Pending;
            }
            received.as_mut().poll(cx).map(Event::Received)
        })
        .await
    }

    /// Handles what was read from the transport.
    async fn take(
        &mut self,
        received: io::Result<Option<Message>>,
    ) -> Result<Next, ConnectionError> {
        let handled = match received {
            Ok(Some(message)) => self.link.handle_message(message),
            Ok(None) => return Ok(Next::Stop),
            Err(error) => match check_unreadable(self.io.last_decoded(), &error) {
                Ok(()) => return Err(error.into()),
                Err(rule) => Err(rule),
            },
        };
        match handled {
            Ok(action) => self.act(action).await,
            Err(rule) => Err(self.say_goodbye(rule).await),
        }
    }

    async fn act(&mut self, action: Action) -> Result<Next, ConnectionError> {
        match action {
            Action::Wait => {}
            Action::Send(outbound) => self.send(outbound).await?,
            Action::SendWatched(outbound, call) => {
                spawn(call.watch());
                self.send(outbound).await?;
            }
            Action::Run(handler, started) => {
                let abort = spawn_with_abort(handler);
                self.link.handle_started(started, Some(abort));
            }
            Action::Deliver(delivery) => delivery.deliver().await,
            Action::Close => return Ok(Next::Stop),
        }
        Ok(Next::GoOn)
    }

    async fn send(&mut self, outbound: Outbound) -> io::Result<()> {
        self.link.set_writing(true);
        self.io.send(&outbound.message).await?;
        self.link.set_writing(false);
        self.link.handle_sent(outbound);
        Ok(())
    }

    async fn say_goodbye(&mut self, rule: Violation) -> ConnectionError {
        let outbound = self.link.handle_violation(rule);
        // The peer may be gone; what it did wrong is the error either way.
        let _ = self.send(outbound).await;
        ConnectionError::violation(rule, "")
    }
}
