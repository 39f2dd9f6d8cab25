//! The runtime of a browser: one thread, tasks that cannot be aborted, and
//! queues with the interface of tokio's.

use std::fmt;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};

pub use futures_channel::oneshot::{Receiver as OneshotReceiver, Sender as OneshotSender};
pub use futures_util::lock::Mutex;

/// Sends into a queue.
pub struct Sender<T>(async_channel::Sender<T>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Sender<T> {
    /// Queues a value, and waits while the queue is full.
    ///
    /// # Errors
    ///
    /// Returns the value if the receiving end is gone.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0
            .send(value)
            .await
            .map_err(|async_channel::SendError(value)| SendError(value))
    }

    /// Queues a value if there is room for it now.
    ///
    /// # Errors
    ///
    /// Returns the value if the queue is full or the receiving end is gone.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(value).map_err(|error| match error {
            async_channel::TrySendError::Full(value) => TrySendError::Full(value),
            async_channel::TrySendError::Closed(value) => TrySendError::Closed(value),
        })
    }

    /// Finds room for a value, which is there until the caller next awaits something.
    pub(crate) fn try_reserve(&self) -> Result<Permit<'_, T>, TrySendError<()>> {
        if self.0.is_closed() {
            Err(TrySendError::Closed(()))
        } else if self.0.is_full() {
            Err(TrySendError::Full(()))
        } else {
            Ok(Permit(self))
        }
    }

    /// Returns whether the receiving end is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Room for a value.
pub(crate) struct Permit<'a, T>(&'a Sender<T>);

impl<T> Permit<'_, T> {
    /// Queues the value.
    pub(crate) fn send(self, value: T) {
        // There is one thread, and it has not awaited anything: the room is still there.
        let _ = self.0.try_send(value);
    }
}

/// Returns a value that was not queued, because the receiving end is gone.
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel closed")
    }
}

impl<T> std::error::Error for SendError<T> {}

/// Returns a value that was not queued, and says why.
pub enum TrySendError<T> {
    /// The queue is full.
    Full(T),
    /// The receiving end is gone.
    Closed(T),
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "TrySendError::Full { .. }",
            Self::Closed(_) => "TrySendError::Closed { .. }",
        })
    }
}

/// Receives from a queue.
pub struct Receiver<T>(async_channel::Receiver<T>);

impl<T> Receiver<T> {
    /// Returns the next value, or `None` once the queue is empty and every sender is gone.
    pub async fn recv(&mut self) -> Option<T> {
        self.0.recv().await.ok()
    }
}

/// Sends into a queue without a limit.
pub type UnboundedSender<T> = Sender<T>;
/// Receives from a queue without a limit.
pub type UnboundedReceiver<T> = Receiver<T>;

/// Creates a queue that holds up to `buffer` values.
pub fn channel<T>(buffer: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = async_channel::bounded(buffer);
    (Sender(sender), Receiver(receiver))
}

/// Creates a queue without a limit.
pub fn unbounded_channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = async_channel::unbounded();
    (Sender(sender), Receiver(receiver))
}

/// Creates a queue for a single value.
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    futures_channel::oneshot::channel()
}

/// Returns once nobody waits for the value any more.
pub(crate) async fn abandoned<T>(sender: &mut OneshotSender<T>) {
    sender.cancellation().await;
}

/// Whether nobody waits for the value any more.
pub(crate) fn is_abandoned<T>(sender: &OneshotSender<T>) -> bool {
    sender.is_canceled()
}

/// Stands for a task that cannot be aborted in a browser.
#[derive(Debug)]
pub struct AbortHandle;

impl AbortHandle {
    /// Does nothing and returns `false`: the task runs on.
    pub fn abort(&self) -> bool {
        false
    }
}

/// Spawns a task that runs `future`.
pub fn spawn<F>(future: F)
where
    F: Future<Output = ()> + 'static,
{
    wasm_bindgen_futures::spawn_local(future);
}

/// Spawns a task that runs `future`.
pub(crate) fn spawn_anywhere(future: BoxFuture<'static, ()>) {
    spawn(future);
}

/// Spawns a task that runs `future`. The handle does not abort it.
pub fn spawn_with_abort<F>(future: F) -> AbortHandle
where
    F: Future<Output = ()> + 'static,
{
    wasm_bindgen_futures::spawn_local(future);
    AbortHandle
}

/// Returns after `duration`.
pub async fn sleep(duration: Duration) {
    gloo_timers::future::sleep(duration).await;
}

/// Returns the output of `future`, or `None` if it takes longer than `duration`.
pub async fn timeout<F, T>(duration: Duration, future: F) -> Option<T>
where
    F: Future<Output = T>,
{
    let work = std::pin::pin!(future);
    let over = std::pin::pin!(gloo_timers::future::sleep(duration));
    match select(work, over).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
