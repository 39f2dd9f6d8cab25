//! What the session reports to `roam-diagnostic`: one row for each connection,
//! request and channel, from its start to its end on every path.
//!
//! A tracker owns a row and ends it when it is dropped, so that no way out of a
//! future or a driver leaves a row behind. Nothing here changes what a peer sees,
//! and nothing but `arguments` formats what people read.

mod arguments;
mod channel;
mod connection;
mod incoming;
mod outage;
mod outgoing;
mod registration;
mod state;

use facet::Facet;
use roam_diagnostic::registry::{self, Outcome};

pub(crate) use channel::{ChannelEnd, ChannelLink, ChannelTracker};
pub(crate) use connection::{ConnectionTracker, Opening, TransportAddress};
pub(crate) use incoming::{Handler, Incoming, RequestKey};
pub(crate) use outage::{Outage, Waiting};
pub(crate) use outgoing::{Announcements, Outgoing, OutgoingStart, RawCall};
pub(crate) use registration::{HandleRegistration, OwnedConnection, Owner};

use crate::Role;

/// Arguments in one line, if `ROAM_DEBUG` asks for them. The registry cuts it.
pub(crate) fn arguments<T: Facet<'static>>(args: &T) -> Option<String> {
    registry::arguments_enabled().then(|| arguments::text(args))
}

/// How a request ends with this response.
pub(crate) fn outcome_of(response: &[u8]) -> Outcome {
    match response {
        [0, ..] => Outcome::Ok,
        [1, 1, ..] => Outcome::UnknownMethod,
        [1, 2, ..] => Outcome::InvalidPayload,
        [1, 3, ..] => Outcome::Cancelled,
        _ => Outcome::UserError,
    }
}

fn role_of(role: Role) -> registry::Role {
    match role {
        Role::Initiator => registry::Role::Initiator,
        Role::Acceptor => registry::Role::Acceptor,
    }
}
