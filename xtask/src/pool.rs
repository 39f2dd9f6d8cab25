//! Does the same to many things, some of them at a time.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

/// How many threads can work at a time.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The results, in any order.
pub(crate) fn map<T: Sync, R: Send>(
    things: &[T],
    at_once: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let queue = Mutex::new(things.iter());
    let next = || queue.lock().ok()?.next();
    thread::scope(|scope| {
        let worker = || std::iter::from_fn(|| Some(work(next()?))).collect::<Vec<_>>();
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}
