//! The native runtime: tokio's own types under the names of this module.

use std::time::Duration;

pub use tokio::sync::Mutex;
pub use tokio::sync::mpsc::error::SendError;
pub use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
pub use tokio::sync::oneshot::{Receiver as OneshotReceiver, Sender as OneshotSender};

pub(crate) use tokio::sync::mpsc::error::TrySendError;

/// A queue that holds up to `buffer` values.
pub fn bounded<T>(buffer: usize) -> (Sender<T>, Receiver<T>) {
    channel(buffer)
}

/// A queue without a limit.
pub fn unbounded<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
    unbounded_channel()
}

/// A queue for a single value.
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    tokio::sync::oneshot::channel()
}

/// A value that is in the queue now.
pub(crate) fn try_recv<T>(receiver: &mut Receiver<T>) -> Option<T> {
    receiver.try_recv().ok()
}

/// Returns once nobody waits for the value any more.
pub(crate) async fn abandoned<T>(sender: &mut OneshotSender<T>) {
    sender.closed().await;
}

/// Aborts the task it was made for.
#[derive(Debug)]
pub struct AbortHandle(tokio::task::AbortHandle);

impl AbortHandle {
    /// Asks the task to stop at its next await. Always `true`: the request was made, whether or not the
    /// task had ended before.
    pub fn abort(&self) -> bool {
        self.0.abort();
        true
    }
}

/// Runs a future on its own.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Runs a future on its own and returns what aborts it.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn spawn_with_abort<F>(future: F) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    AbortHandle(tokio::spawn(future).abort_handle())
}

/// Returns after `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// What `future` returns, or `None` when `duration` is over first.
pub async fn timeout<F, T>(duration: Duration, future: F) -> Option<T>
where
    F: Future<Output = T>,
{
    tokio::time::timeout(duration, future).await.ok()
}
