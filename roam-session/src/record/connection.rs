//! The row of one connection, root or virtual, and what has to end with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::{HashMap, HashMapExt};
use roam_diagnostic::registry::{Connection, ConnectionOpen, ConnectionState, Outcome, Request};
use roam_wire::ConnectionId;

use super::role_of;
use crate::Role;
use crate::diagnostic::DiagnosticState;

/// Owns the row of a connection. Its driver and each of its incoming requests hold one; the row is released
/// with the last of them.
pub(crate) struct ConnectionTracker {
    row: Connection,
    /// The link's root, unless this is it. Its row outlives the others'.
    link: Option<Arc<ConnectionTracker>>,
    served_here: bool,
    live: Mutex<Live>,
}

/// A channel or a request, which ends with its connection.
pub(super) trait EndsWithConnection: Send + Sync {
    fn connection_closed(&self);
}

type Dependent = Weak<dyn EndsWithConnection>;

/// What ends with the connection. Keys are serials of rows.
struct Live {
    is_open: bool,
    name: String,
    /// Whether somebody chose the name.
    is_named: bool,
    virtuals: Vec<(ConnectionId, Weak<ConnectionTracker>)>,
    channels: HashMap<u64, Dependent>,
    incoming: HashMap<u64, Dependent>,
    /// Requests whose handler is gone and whose end nobody may report.
    unanswered: Vec<Request>,
}

/// What is known of a connection when it is opened.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) conn_id: ConnectionId,
    pub(crate) role: Role,
    /// The link's root, unless this is it.
    pub(crate) link: Option<&'a Arc<ConnectionTracker>>,
    /// Rust's name of the transport's type.
    pub(crate) transport: Option<&'a str>,
    pub(crate) diagnostic_state: Option<&'a Arc<DiagnosticState>>,
    pub(crate) state: ConnectionState,
    /// Whether this crate's driver serves it.
    pub(crate) served_here: bool,
}

impl ConnectionTracker {
    pub(crate) fn open(opening: &Opening<'_>) -> Arc<Self> {
        let (name, is_named) = match (opening.diagnostic_state, opening.link) {
            (Some(state), _) => (state.name.clone(), true),
            (None, Some(link)) => (virtual_name(&link.live().name, opening.conn_id), false),
            (None, None) => {
                let root = root_name(opening.role, opening.transport);
                if opening.conn_id.is_root() {
                    (root, false)
                } else {
                    (virtual_name(&root, opening.conn_id), false)
                }
            }
        };
        let row = Connection::open(&ConnectionOpen {
            link: opening.link.map_or(Connection::NONE, |link| link.row),
            conn_id: opening.conn_id.raw(),
            group: opening
                .diagnostic_state
                .map_or(Connection::NONE, |state| state.group()),
            role: role_of(opening.role),
            state: opening.state,
            observes_writes: opening.served_here,
            name: &name,
        });
        let tracker = Arc::new(Self {
            row,
            link: opening.link.cloned(),
            served_here: opening.served_here,
            live: Mutex::new(Live {
                is_open: true,
                name,
                is_named,
                virtuals: Vec::new(),
                channels: HashMap::new(),
                incoming: HashMap::new(),
                unanswered: Vec::new(),
            }),
        });
        if let Some(link) = opening.link {
            let mut live = link.live();
            live.virtuals.retain(|(_, gone)| gone.strong_count() > 0);
            live.virtuals
                .push((opening.conn_id, Arc::downgrade(&tracker)));
        }
        tracker
    }

    pub(crate) fn row(&self) -> Connection {
        self.row
    }

    /// Reports a message put into the link's queue. Not counted for drivers of other crates, because they do not
    /// report when they take one out.
    pub(crate) fn enqueued(&self) {
        if self.served_here {
            self.link.as_deref().unwrap_or(self).row.enqueued();
        }
    }

    /// Whether this crate's driver serves the connection.
    pub(crate) fn is_served_here(&self) -> bool {
        self.served_here
    }

    /// Names the connection, and those of its virtual connections that nobody named.
    pub(crate) fn set_name(&self, name: &str) {
        let virtuals = {
            let mut live = self.live();
            live.is_named = true;
            live.name = name.to_owned();
            // Under the lock, because two renames must not run at the same time.
            self.row.set_name(name);
            live.virtuals.clone()
        };
        for (conn_id, connection) in virtuals {
            if let Some(connection) = connection.upgrade() {
                let mut live = connection.live();
                if !live.is_named {
                    live.name = virtual_name(name, conn_id);
                    connection.row.set_name(&live.name);
                }
            }
        }
    }

    /// Closes the connection and its channels. Requests whose handlers run on keep the row.
    pub(crate) fn close(&self) {
        let (channels, incoming, unanswered) = {
            let mut live = self.live();
            if !std::mem::replace(&mut live.is_open, false) {
                return;
            }
            (
                std::mem::take(&mut live.channels),
                std::mem::take(&mut live.incoming),
                std::mem::take(&mut live.unanswered),
            )
        };
        let dependents = channels.into_values().chain(incoming.into_values());
        for dependent in dependents.filter_map(|dependent| dependent.upgrade()) {
            dependent.connection_closed();
        }
        for request in unanswered {
            request.end_as_responded(Outcome::NoAnswer);
        }
        self.row.close();
    }

    /// `false` where the connection is closed: the channel must not be opened.
    pub(super) fn add_channel(&self, serial: u64, channel: Dependent) -> bool {
        let mut live = self.live();
        if live.is_open {
            live.channels.insert(serial, channel);
        }
        live.is_open
    }

    pub(super) fn forget_channel(&self, serial: u64) {
        self.live().channels.remove(&serial);
    }

    pub(super) fn add_incoming(&self, serial: u64, request: Dependent) {
        self.live().incoming.insert(serial, request);
    }

    pub(super) fn forget_incoming(&self, serial: u64) {
        self.live().incoming.remove(&serial);
    }

    /// Ends the row of a request without a handler when the connection closes, if nobody does before.
    pub(super) fn add_unanswered(&self, request: Request) {
        let mut live = self.live();
        if !live.is_open {
            request.end_as_responded(Outcome::NoAnswer);
            return;
        }
        if live.unanswered.len() == live.unanswered.capacity() {
            live.unanswered.retain(|request| request.is_live());
        }
        live.unanswered.push(request);
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionTracker {
    fn drop(&mut self) {
        self.close();
        self.row.release();
    }
}

/// Where a link's transport object is in memory, for as long as this is there. Dropped before the object is.
pub(crate) struct TransportAddress(Connection);

impl TransportAddress {
    pub(crate) fn publish<T>(tracker: &ConnectionTracker, transport: &T) -> Self {
        let address = std::ptr::from_ref(transport).addr() as u64;
        let bytes = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
        tracker.row.set_transport(Some((address, bytes)));
        Self(tracker.row)
    }
}

impl Drop for TransportAddress {
    fn drop(&mut self) {
        self.0.set_transport(None);
    }
}

fn virtual_name(link: &str, conn_id: ConnectionId) -> String {
    format!("{link} conn {}", conn_id.raw())
}

/// What is certain about a link that nobody named: its role, Rust's name of its transport's type, and which one it is.
pub(super) fn root_name(role: Role, transport: Option<&str>) -> String {
    static INSTANCES: AtomicU64 = AtomicU64::new(1);
    let role = match role {
        Role::Initiator => "initiator",
        Role::Acceptor => "acceptor",
    };
    let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
    match transport {
        Some(transport) => format!("{role} {} #{instance}", without_paths(transport)),
        None => format!("{role} #{instance}"),
    }
}

/// `a::B<c::d::E>` as `B<E>`.
fn without_paths(type_name: &str) -> String {
    let mut short = String::with_capacity(type_name.len());
    let mut segment = 0;
    for character in type_name.chars() {
        short.push(character);
        if short.ends_with("::") {
            short.truncate(segment);
        } else if !(character.is_alphanumeric() || matches!(character, '_' | ':')) {
            segment = short.len();
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_lose_their_paths() {
        for (long, short) in [
            (
                "roam_stream::framing::CobsFramed<tokio::net::unix::stream::UnixStream>",
                "CobsFramed<UnixStream>",
            ),
            ("a::b<(c::D, &mut e::F)>", "b<(D, &mut F)>"),
            ("u8", "u8"),
        ] {
            assert_eq!(without_paths(long), short);
        }
    }
}
