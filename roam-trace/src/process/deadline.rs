//! Work that a process could keep waiting, such as reading memory whose lock it holds: done by a thread of its own,
//! which is given up after a while. Nobody waits for that thread any more.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::worker::Idle;

/// How long the first process is waited for. Each that does not answer halves the time for the next ones.
const PATIENCE: Duration = Duration::from_secs(1);
const LEAST_PATIENCE: Duration = Duration::from_millis(50);
/// Threads that are given up before no further process is waited for.
const MAX_GIVEN_UP: u32 = 64;

static GIVEN_UP: AtomicU32 = AtomicU32::new(0);
static IDLE: Idle = Idle::none();

/// Has the idle thread drop its capabilities; the next one has those that the main thread has then.
pub fn retire_worker() {
    IDLE.retire();
}

/// Does something that the process could keep waiting. Where no thread can be started, it is done without a deadline.
///
/// # Errors
///
/// That of the work; [`ErrorKind::TimedOut`] if it was given up.
pub(super) fn within_deadline<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let given_up = GIVEN_UP.load(Ordering::Relaxed);
    if given_up >= MAX_GIVEN_UP {
        return Err(ErrorKind::TimedOut.into());
    }
    let limit = (PATIENCE / 2_u32.pow(given_up.min(16))).max(LEAST_PATIENCE);
    let worker = match IDLE.take() {
        Ok(worker) => worker,
        Err(error) => {
            log::info!("cannot start a thread: {error}");
            return work();
        }
    };
    let (sender, receiver) = mpsc::channel();
    // Whoever gave it up does not receive.
    worker.run(move || drop(sender.send(work())));
    match receiver.recv_timeout(limit) {
        Ok(result) => {
            IDLE.put_back(worker);
            result
        }
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread panicked")),
        Err(RecvTimeoutError::Timeout) => {
            GIVEN_UP.fetch_add(1, Ordering::Relaxed);
            Err(ErrorKind::TimedOut.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_does_not_end_is_given_up() {
        assert_eq!(within_deadline(|| Ok(7)).unwrap(), 7);
        let (sender, receiver) = mpsc::channel::<()>();
        let began = Instant::now();
        let given_up = within_deadline(move || receiver.recv().map_err(io::Error::other));
        assert_eq!(given_up.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= LEAST_PATIENCE);
        drop(sender);
    }
}
