//! The row of a client that has no link, and sets one up.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use roam_diagnostic::registry::{Connection, ConnectionOpen, ConnectionState};

use super::connection::root_name;
use super::{ConnectionTracker, role_of};
use crate::Role;

/// Shows that a client has no link: one row from the loss of the link, or from the first attempt, to the next link.
/// The row stays while nobody calls, as the next call has to connect first.
#[derive(Default)]
pub(crate) struct Outage(Mutex<State>);

#[derive(Default)]
struct State {
    row: Option<Connection>,
    /// Attempts to connect that failed since the client has no link.
    attempts: u32,
    /// Links that the client ever lost.
    losses: u32,
    is_connecting: bool,
    /// Calls that make a further attempt after a while.
    waiting: usize,
}

impl Outage {
    /// The link is down. `transport` is Rust's name of the type of its transport.
    pub(crate) fn link_lost(&self, transport: &str) {
        let mut state = self.state();
        state.losses = state.losses.saturating_add(1);
        let losses = state.losses;
        state.row(transport).set_losses(losses);
    }

    /// The client tries to connect. It makes one attempt at a time.
    pub(crate) fn attempt(&self, transport: &str) -> Attempt<'_> {
        let mut state = self.state();
        state.is_connecting = true;
        state.row(transport);
        state.show();
        Attempt(self)
    }

    /// A call waits before its next attempt.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        let mut state = self.state();
        state.waiting += 1;
        if state.waiting == 1 {
            state.show();
        }
        Waiting(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn row(&mut self, transport: &str) -> Connection {
        let state = self.connection_state();
        *self.row.get_or_insert_with(|| {
            Connection::open(&ConnectionOpen {
                link: Connection::NONE,
                conn_id: 0,
                group: Connection::NONE,
                role: role_of(Role::Initiator),
                state,
                observes_writes: true,
                name: &root_name(Role::Initiator, Some(transport)),
            })
        })
    }

    fn connection_state(&self) -> ConnectionState {
        match (self.is_connecting, self.waiting) {
            (true, _) => ConnectionState::Connecting,
            (false, 0) => ConnectionState::Disconnected,
            (false, _) => ConnectionState::BackingOff,
        }
    }

    fn show(&self) {
        if let Some(row) = self.row {
            row.set_state(self.connection_state(), self.attempts);
        }
    }

    fn end(&mut self) {
        self.attempts = 0;
        if let Some(row) = self.row.take() {
            row.close();
            row.release();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.end();
    }
}

/// An attempt to connect, from its start to its end.
pub(crate) struct Attempt<'a>(&'a Outage);

impl Attempt<'_> {
    /// The client is connected.
    pub(crate) fn succeeded(self, link: &Weak<ConnectionTracker>) {
        let mut state = self.0.state();
        if let Some(link) = link.upgrade() {
            link.row().set_losses(state.losses);
        }
        state.end();
    }

    pub(crate) fn failed(self, error: &str) {
        let mut state = self.0.state();
        state.attempts = state.attempts.saturating_add(1);
        if let Some(row) = state.row {
            row.set_error(error);
        }
    }
}

/// Nobody tries any more. A client that never tried to the end has lost nothing.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_connecting = false;
        if state.attempts == 0 && state.losses == 0 {
            state.end();
        } else {
            state.show();
        }
    }
}

/// A call that makes a further attempt after a while, until it ends or is given up.
pub(crate) struct Waiting<'a>(&'a Outage);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        if state.waiting == 0 {
            state.show();
        }
    }
}
