//! What a row of a link says of its transport: the socket, and who is at the other end.

use roam_trace_common::event::ConnectionState;

use super::context::Analysis;
use super::index::Endpoint;
use crate::model::{Confidence, Connection, ConnectionSocket, SocketUnknown};

/// What is known of the transport of a link at one of its ends.
#[derive(Debug, Default)]
pub(crate) struct LinkEnd {
    pub(crate) socket: Option<ConnectionSocket>,
    /// Why there is no socket, where one was looked for.
    pub(crate) unknown: Option<SocketUnknown>,
    /// The pid of the process at the other end, and how sure that is.
    pub(crate) peer: Option<(u32, Confidence)>,
    /// The pids of those that may be there, if it is not known.
    pub(crate) possible_peers: Vec<u32>,
}

impl LinkEnd {
    pub(super) fn of(analysis: &Analysis<'_>, process: u32, row: &Connection) -> Self {
        let link = Endpoint {
            process,
            serial: row.serial,
        };
        if row.link != row.serial || row.state != ConnectionState::Open {
            return Self::default();
        }
        let (index, pairs) = (analysis.index, analysis.calls.pairs());
        let peer = analysis.peers.shown_process(link);
        let peer = peer.map(|peer| (peer.pid, peer.confidence));
        let possible_peers = match peer {
            Some(_) => Vec::new(),
            None => analysis.peers.by_any_socket(link),
        };
        if let Some((socket, confidence)) = pairs.socket(link) {
            let socket = ConnectionSocket {
                descriptor: socket.descriptor,
                local: socket.local.clone(),
                remote: socket.remote.clone(),
                unread_bytes: socket.unread_bytes,
                unsent_bytes: socket.unsent_bytes,
                confidence,
            };
            return Self {
                socket: Some(socket),
                unknown: None,
                peer,
                possible_peers,
            };
        }
        let key = (index.pid(process), row.serial);
        let several = (!pairs.sockets(link).is_empty()).then_some(SocketUnknown::Ambiguous);
        // What was found was another link's.
        let none = (index.facts.transports.contains_key(&key)).then_some(SocketUnknown::NotFound);
        let untold = index.facts.unknown_sockets.get(&key).copied();
        Self {
            socket: None,
            unknown: several.or(untold).or(none),
            peer,
            possible_peers,
        }
    }
}
