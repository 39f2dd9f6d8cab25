//! When a live view ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::watch::{WatchError, on_signals};

/// When a live view ends: at SIGINT, SIGTERM or SIGHUP, and after a while if it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    interrupted: Arc<AtomicBool>,
    duration: Option<Duration>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Handles the signals from now on. A second one ends the program.
    ///
    /// # Errors
    ///
    /// [`WatchError::Signal`] if the handlers cannot be installed.
    pub(crate) fn on_signals(duration: Option<Duration>) -> Result<Self, WatchError> {
        let interrupted: io::Result<_> = on_signals(&[SIGINT, SIGTERM, SIGHUP]);
        Ok(Self {
            interrupted: interrupted.map_err(WatchError::Signal)?,
            duration,
            deadline: None,
        })
    }

    /// Counts the duration from now.
    pub(crate) fn start(&mut self) {
        self.deadline = (self.duration).and_then(|duration| Instant::now().checked_add(duration));
    }

    /// Returns whether the end has come.
    pub(crate) fn is_due(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }
}
