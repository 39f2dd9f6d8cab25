//! Gives the messages of hubs what the registries of the same processes know of their requests.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use roam_trace_common::event::Direction;

use crate::model::{Hub, HubContent, HubMessage, HubRole, MessageKind, Request, Snapshot};

/// Gives the messages of hubs the method names and the ages of their requests, as far as the snapshots have them.
pub fn join(hubs: &mut [Hub], snapshots: &[Snapshot]) {
    if hubs.is_empty() {
        return;
    }
    let known = Known::new(snapshots);
    for hub in hubs {
        let host = hub.users.iter().find(|user| user.role == HubRole::Host);
        let host = host.map(|user| user.process.pid);
        let HubContent::Content(state) = &mut hub.content else {
            continue;
        };
        for peer in &mut state.peers {
            let guest = peer.process.as_ref().map(|process| process.pid);
            for (ring, sender, receiver) in [
                (&mut peer.to_host, guest, host),
                (&mut peer.to_peer, host, guest),
            ] {
                for message in ring.unread.iter_mut().chain(&mut ring.history) {
                    known.describe(message, sender, receiver);
                }
            }
        }
    }
}

/// What the registries know.
struct Known<'a> {
    methods: HashMap<u64, &'a Arc<str>>,
    /// Requests by process, direction, and id modulo 2^32.
    requests: HashMap<(u32, Direction, u32), Vec<&'a Request>>,
}

impl<'a> Known<'a> {
    fn new(snapshots: &'a [Snapshot]) -> Self {
        let mut methods = HashMap::new();
        let mut requests: HashMap<_, Vec<_>> = HashMap::new();
        for snapshot in snapshots {
            for row in &snapshot.methods {
                methods.extend(row.method.as_ref().map(|method| (row.method_id, method)));
            }
            for row in &snapshot.requests {
                methods.extend(row.method.as_ref().map(|method| (row.method_id, method)));
                // The driver of shared memory does not report writes.
                if !row.writes_observable {
                    let key = (snapshot.process.pid, row.direction, row.request_id as u32);
                    requests.entry(key).or_default().push(row);
                }
            }
        }
        Self { methods, requests }
    }

    fn describe(&self, message: &mut HubMessage, sender: Option<u32>, receiver: Option<u32>) {
        let row = match message.kind {
            MessageKind::Request => self
                .only(sender, Direction::Outgoing, message)
                .or_else(|| self.only(receiver, Direction::Incoming, message)),
            MessageKind::Response => self
                .only(receiver, Direction::Outgoing, message)
                .or_else(|| self.only(sender, Direction::Incoming, message)),
            _ => None,
        };
        let of_id = message
            .method_id
            .and_then(|id| self.methods.get(&id).copied());
        let method = row.and_then(|row| row.method.as_ref()).or(of_id);
        message.method = method.cloned();
        message.age_us = row.map(|row| row.age_us);
    }

    /// The request of a message, if only one can be it: a process numbers the requests of every connection from 1.
    fn only(
        &self,
        process: Option<u32>,
        direction: Direction,
        message: &HubMessage,
    ) -> Option<&'a Request> {
        let rows = self.requests.get(&(process?, direction, message.id))?;
        let is_same = |row: &&&Request| message.method_id.is_none_or(|id| id == row.method_id);
        let mut rows = rows.iter().filter(is_same);
        rows.next().copied().filter(|_| rows.next().is_none())
    }
}
