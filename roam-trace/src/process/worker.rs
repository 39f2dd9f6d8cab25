//! Threads that do what another process could keep waiting.
//!
//! They take no signals and never end by themselves: if this process is killed just while one of its threads ends,
//! the kernel closes the probes' descriptors in that thread, cannot write to the target any more, and leaves the
//! breakpoints in it.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::privilege;
use crate::signals::SignalsBlocked;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one job after the other. Dropped, it does no further one.
pub(super) struct Worker(Sender<Job>);

impl Worker {
    fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Job>();
        let _signals = SignalsBlocked::begin();
        thread::Builder::new().spawn(move || {
            receiver.into_iter().for_each(|job| job());
            if let Err(error) = privilege::drop_all() {
                log::info!("cannot drop the capabilities of a thread: {error}");
            }
            loop {
                thread::park();
            }
        })?;
        Ok(Self(sender))
    }

    /// Does a job after those before it; does not wait for it.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        // It is gone if a job panicked: then this one is dropped, with whatever reports its result.
        let _ = self.0.send(Box::new(job));
    }
}

/// A worker that has nothing to do, if there is one.
pub(super) struct Idle(Mutex<Option<Worker>>);

impl Idle {
    pub(super) const fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// Returns the idle worker, or starts one, which has the capabilities of the calling thread.
    ///
    /// # Errors
    ///
    /// That of the system: a user may have no more threads.
    pub(super) fn take(&self) -> io::Result<Worker> {
        self.replace(None).map_or_else(Worker::start, Ok)
    }

    /// Keeps a worker that has done its jobs.
    pub(super) fn put_back(&self, worker: Worker) {
        self.replace(Some(worker));
    }

    /// Has the idle worker drop its capabilities, and never uses it again.
    pub(super) fn retire(&self) {
        self.replace(None);
    }

    fn replace(&self, worker: Option<Worker>) -> Option<Worker> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut idle, worker)
    }
}
