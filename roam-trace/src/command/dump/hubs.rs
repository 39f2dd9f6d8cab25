//! Reads the shared-memory hubs that the processes map.

use std::collections::HashSet;

use roam_dump::analysis::{Facts, Neighbour, Peer, Via};
use roam_dump::model::{Hub, HubRole};
use roam_dump::shm::HubDetail;

use crate::cli::DumpArgs;
use crate::process::hubs::Hubs;
use crate::process::{Share, untraced};

/// Adds the hubs, the processes that are known by them only, and that hosts and guests are neighbours.
pub(super) fn find(shares: &[Share<'_>], args: &DumpArgs, facts: &mut Facts) {
    let targets: Vec<_> = shares.iter().map(|share| share.target).collect();
    let detail = HubDetail {
        history: args.history,
        ..HubDetail::default()
    };
    facts.hubs = Hubs::find(&targets).read_and_explain(detail);
    let mut known: HashSet<u32> = facts.processes.iter().map(|it| it.process.pid).collect();
    for user in facts.hubs.iter().flat_map(|hub| &hub.users) {
        if known.insert(user.process.pid) {
            facts.processes.push(untraced::facts(user.process.pid));
        }
    }
    let mut joined: HashSet<(u32, u32)> = (facts.neighbours.iter())
        .filter_map(|neighbour| match neighbour.peer {
            Peer::Process { pid, .. } => Some([(neighbour.pid, pid), (pid, neighbour.pid)]),
            Peer::Unseen(_) => None,
        })
        .flatten()
        .collect();
    let targets: HashSet<u32> = targets.iter().map(|target| target.pid()).collect();
    for (host, guest) in facts.hubs.iter().flat_map(links) {
        let (pid, peer) = match targets.contains(&host) {
            true => (host, guest),
            false => (guest, host),
        };
        if joined.insert((pid, peer)) {
            facts.neighbours.push(Neighbour {
                pid,
                peer: Peer::Process {
                    pid: peer,
                    held_by: None,
                },
                via: Via::SharedMemory,
            });
        }
    }
}

/// The host of a hub with each of its guests.
fn links(hub: &Hub) -> impl Iterator<Item = (u32, u32)> {
    let is_host = |role| role == HubRole::Host;
    let host = hub.users.iter().find(move |user| is_host(user.role));
    host.into_iter().flat_map(|host| {
        let guests = hub.users.iter();
        let guests = guests.filter(|user| matches!(user.role, HubRole::Guest { .. }));
        guests.map(|guest| (host.process.pid, guest.process.pid))
    })
}
