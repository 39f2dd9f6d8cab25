//! Connections that a driver of another crate serves.
//!
//! Such a driver creates a handle and a channel registry for a connection, and
//! reports nothing else. A handle and a registry with the same driver queue and
//! the same id belong to one connection; either may be alone. The registry is
//! dropped when the connection closes, the handle when its last user drops it, so
//! the registry owns the tracker as soon as there is one.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use roam_diagnostic::registry::ConnectionState;
use roam_wire::ConnectionId;

use crate::diagnostic::DiagnosticState;
use crate::record::{ConnectionTracker, HandleRegistration, Opening, OwnedConnection, Owner};
use crate::runtime::Sender;
use crate::{DriverMessage, Role};

/// One connection of a foreign driver.
struct ForeignConnection {
    driver: queue::Identity,
    conn_id: ConnectionId,
    connection: Weak<ConnectionTracker>,
    /// What a registry takes the tracker from; `None` where there is no handle.
    handle: Option<Weak<Owner>>,
    has_registry: bool,
}

static FOREIGN: Mutex<Vec<ForeignConnection>> = Mutex::new(Vec::new());

/// The connection of a new handle.
pub(crate) fn join_handle(
    conn_id: ConnectionId,
    driver: &Sender<DriverMessage>,
    role: Role,
    diagnostic_state: Option<&Arc<DiagnosticState>>,
) -> HandleRegistration {
    with_connections(|connections| {
        let registry = connections.iter_mut().find(|other| {
            other.handle.is_none() && other.conn_id == conn_id && other.driver.is(driver)
        });
        if let Some(other) = registry
            && let Some(connection) = other.connection.upgrade()
        {
            other.handle = Some(Weak::new());
            if let Some(state) = diagnostic_state {
                connection.set_name(&state.name);
            }
            return HandleRegistration::borrowed(&connection);
        }
        let connection = open(connections, conn_id, driver, role, diagnostic_state);
        let registration = HandleRegistration::owned(connection);
        connections.push(ForeignConnection {
            driver: queue::Identity::of(driver),
            conn_id,
            connection: registration.connection().clone(),
            handle: Some(registration.owner()),
            has_registry: false,
        });
        registration
    })
}

/// The connection of a new channel registry, which owns it from now on.
pub(crate) fn join_registry(
    conn_id: ConnectionId,
    driver: &Sender<DriverMessage>,
    role: Role,
) -> OwnedConnection {
    with_connections(|connections| {
        let handle = connections.iter_mut().find(|other| {
            !other.has_registry && other.conn_id == conn_id && other.driver.is(driver)
        });
        if let Some(other) = handle
            && let Some(owner) = other.handle.as_ref().and_then(Weak::upgrade)
            && let Some(connection) = owner.take()
        {
            other.has_registry = true;
            return OwnedConnection::new(connection);
        }
        let connection = open(connections, conn_id, driver, role, None);
        connections.push(ForeignConnection {
            driver: queue::Identity::of(driver),
            conn_id,
            connection: Arc::downgrade(&connection),
            handle: None,
            has_registry: true,
        });
        OwnedConnection::new(connection)
    })
}

fn with_connections<R>(act: impl FnOnce(&mut Vec<ForeignConnection>) -> R) -> R {
    let mut connections = FOREIGN.lock().unwrap_or_else(PoisonError::into_inner);
    connections.retain(|other| other.connection.strong_count() > 0);
    act(&mut connections)
}

fn open(
    connections: &[ForeignConnection],
    conn_id: ConnectionId,
    driver: &Sender<DriverMessage>,
    role: Role,
    diagnostic_state: Option<&Arc<DiagnosticState>>,
) -> Arc<ConnectionTracker> {
    let link = connections
        .iter()
        .filter(|other| !conn_id.is_root() && other.conn_id.is_root() && other.driver.is(driver))
        .find_map(|other| other.connection.upgrade());
    ConnectionTracker::open(&Opening {
        conn_id,
        role,
        link: link.as_ref(),
        transport: None,
        diagnostic_state,
        state: ConnectionState::Open,
        served_here: false,
    })
}

/// Which queue a sender belongs to, without keeping the queue open.
#[cfg(not(target_arch = "wasm32"))]
mod queue {
    use tokio::sync::mpsc::WeakSender;

    use crate::DriverMessage;
    use crate::runtime::Sender;

    pub(super) struct Identity(WeakSender<DriverMessage>);

    impl Identity {
        pub(super) fn of(sender: &Sender<DriverMessage>) -> Self {
            Self(sender.downgrade())
        }

        pub(super) fn is(&self, sender: &Sender<DriverMessage>) -> bool {
            self.0.upgrade().is_some_and(|own| own.same_channel(sender))
        }
    }
}

/// No other crate has a driver for a browser: nothing is ever joined there.
#[cfg(target_arch = "wasm32")]
mod queue {
    use crate::DriverMessage;
    use crate::runtime::Sender;

    pub(super) struct Identity;

    impl Identity {
        pub(super) fn of(_sender: &Sender<DriverMessage>) -> Self {
            Self
        }

        pub(super) fn is(&self, _sender: &Sender<DriverMessage>) -> bool {
            false
        }
    }
}
