//! Ends a process that a test would wait for in vain.

use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Kills a process that still runs after some time, unless it is dropped before: whoever waits for the process's
/// output or end goes on then, and fails.
pub(crate) struct Watchdog {
    _watching: Sender<()>,
}

impl Watchdog {
    pub(crate) fn of(child: &Child, limit: Duration) -> Self {
        let pid = child.id().to_string();
        let (watching, end) = channel::<()>();
        thread::spawn(move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-s", "KILL", &pid]).status();
            }
        });
        Self {
            _watching: watching,
        }
    }
}
