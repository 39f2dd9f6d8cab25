//! Who keeps the row of a connection open: its handle, its channel registry, or
//! the driver that both borrow it from.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::ConnectionTracker;

/// A handle's part in its connection's row.
pub(crate) struct HandleRegistration {
    connection: Weak<ConnectionTracker>,
    /// Where the handle keeps the connection open itself.
    owner: Option<Arc<Owner>>,
}

impl HandleRegistration {
    /// The handle of a connection that somebody else keeps open.
    pub(crate) fn borrowed(connection: &Arc<ConnectionTracker>) -> Self {
        Self {
            connection: Arc::downgrade(connection),
            owner: None,
        }
    }

    /// The handle keeps the connection open until somebody else [takes it](Owner::take).
    pub(crate) fn owned(connection: Arc<ConnectionTracker>) -> Self {
        Self {
            connection: Arc::downgrade(&connection),
            owner: Some(Arc::new(Owner(Mutex::new(Some(connection))))),
        }
    }

    pub(crate) fn connection(&self) -> &Weak<ConnectionTracker> {
        &self.connection
    }

    pub(crate) fn owner(&self) -> Weak<Owner> {
        self.owner.as_ref().map_or_else(Weak::new, Arc::downgrade)
    }
}

/// Keeps a connection's row open until it is taken.
pub(crate) struct Owner(Mutex<Option<Arc<ConnectionTracker>>>);

impl Owner {
    pub(crate) fn take(&self) -> Option<Arc<ConnectionTracker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A connection that is open for as long as this is there.
pub(crate) struct OwnedConnection(Arc<ConnectionTracker>);

impl OwnedConnection {
    pub(crate) fn new(connection: Arc<ConnectionTracker>) -> Self {
        Self(connection)
    }

    pub(crate) fn tracker(&self) -> Weak<ConnectionTracker> {
        Arc::downgrade(&self.0)
    }
}

impl Drop for OwnedConnection {
    fn drop(&mut self) {
        self.0.close();
    }
}
