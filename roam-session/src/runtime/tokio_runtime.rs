//! The native runtime: tokio's own types under the names of this module.

use std::future::pending;
use std::sync::PoisonError;
use std::time::Duration;
use std::{io, sync, thread};

use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle};

pub use tokio::sync::Mutex;
pub use tokio::sync::mpsc::error::SendError;
pub use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
pub use tokio::sync::oneshot::{Receiver as OneshotReceiver, Sender as OneshotSender};

pub(crate) use tokio::sync::mpsc::Permit;
pub(crate) use tokio::sync::mpsc::error::TrySendError;

/// Creates a queue that holds up to `buffer` values.
pub fn bounded<T>(buffer: usize) -> (Sender<T>, Receiver<T>) {
    channel(buffer)
}

/// Creates a queue without a limit.
pub fn unbounded<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
    unbounded_channel()
}

/// Creates a queue for a single value.
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    tokio::sync::oneshot::channel()
}

/// Returns once nobody waits for the value any more.
pub(crate) async fn abandoned<T>(sender: &mut OneshotSender<T>) {
    sender.closed().await;
}

/// Whether nobody waits for the value any more.
pub(crate) fn is_abandoned<T>(sender: &OneshotSender<T>) -> bool {
    sender.is_closed()
}

/// Aborts the task that it was created for.
#[derive(Debug)]
pub struct AbortHandle(tokio::task::AbortHandle);

impl AbortHandle {
    /// Asks the task to stop at its next await. Always returns `true`, also if the task had ended before.
    pub fn abort(&self) -> bool {
        self.0.abort();
        true
    }
}

/// Spawns a task that runs `future`.
///
/// # Panics
///
/// Panics outside a tokio runtime.
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Spawns a task that runs `future`. Outside a runtime, the task runs on a thread that all such tasks share.
pub(crate) fn spawn_anywhere(future: BoxFuture<'static, ()>) {
    if let Ok(runtime) = Handle::try_current().or_else(|_| shared_runtime()) {
        runtime.spawn(future);
    }
}

/// The runtime of a thread that starts when it is first needed, and runs until the process ends.
///
/// # Errors
///
/// Fails if the process cannot start a thread.
fn shared_runtime() -> io::Result<Handle> {
    static RUNTIME: sync::Mutex<Option<Handle>> = sync::Mutex::new(None);

    let mut shared = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*shared {
        return Ok(runtime.clone());
    }
    let runtime = Builder::new_current_thread().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("roam-session".into())
        .spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(shared.insert(handle).clone())
}

/// Spawns a task that runs `future`, and returns a handle that aborts it.
///
/// # Panics
///
/// Panics outside a tokio runtime.
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

/// Returns the output of `future`, or `None` if it takes longer than `duration`.
pub async fn timeout<F, T>(duration: Duration, future: F) -> Option<T>
where
    F: Future<Output = T>,
{
    tokio::time::timeout(duration, future).await.ok()
}
