//! The row of a client that has no link, and sets one up.

use std::sync::Weak;

use roam_diagnostic::registry::{Connection, ConnectionOpen, ConnectionState};

use super::connection::root_name;
use super::{ConnectionTracker, role_of};
use crate::Role;

/// Shows that a client has no link: one row from the loss of the link, or from the first attempt, to the next link.
/// The row stays while nobody calls, as the next call has to connect first.
#[derive(Default)]
pub(crate) struct Outage {
    row: Option<Connection>,
    /// Attempts to connect that failed since the client has no link.
    attempts: u32,
    /// Links that the client ever lost.
    losses: u32,
}

impl Outage {
    /// The link is down. `transport` is Rust's name of the type of its transport.
    pub(crate) fn link_lost(&mut self, transport: &str) {
        self.losses = self.losses.saturating_add(1);
        self.row(transport, ConnectionState::BackingOff)
            .set_losses(self.losses);
    }

    /// The client tries to connect.
    pub(crate) fn attempt(&mut self, transport: &str) -> Attempt<'_> {
        self.row(transport, ConnectionState::Connecting)
            .set_state(ConnectionState::Connecting, self.attempts);
        Attempt(self)
    }

    fn row(&mut self, transport: &str, state: ConnectionState) -> Connection {
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

    fn end(&mut self) {
        self.attempts = 0;
        if let Some(row) = self.row.take() {
            row.close();
            row.release();
        }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.end();
    }
}

/// An attempt to connect, from its start to its end.
pub(crate) struct Attempt<'a>(&'a mut Outage);

impl Attempt<'_> {
    /// The client is connected.
    pub(crate) fn succeeded(self, link: &Weak<ConnectionTracker>) {
        if let Some(link) = link.upgrade() {
            link.row().set_losses(self.0.losses);
        }
        self.0.end();
    }

    pub(crate) fn failed(self, error: &str) {
        self.0.attempts = self.0.attempts.saturating_add(1);
        if let Some(row) = self.0.row {
            row.set_error(error);
        }
    }
}

/// Nobody tries any more. A client that never tried to the end has lost nothing.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let outage = &mut *self.0;
        if outage.attempts == 0 && outage.losses == 0 {
            outage.end();
        } else if let Some(row) = outage.row {
            row.set_state(ConnectionState::BackingOff, outage.attempts);
        }
    }
}
