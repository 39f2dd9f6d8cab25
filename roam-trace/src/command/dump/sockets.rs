//! Finds which sockets the connections of processes use, and what is left in them.

use std::collections::{HashMap, HashSet};
use std::thread::sleep;
use std::time::Duration;

use roam_dump::analysis::{CounterSample, Facts, STUCK_US, TransportSocket};
use roam_dump::model::SocketUnknown;

use super::sample::{Sample, sample};
use crate::process::link_sockets::{LinkSockets, Transports};
use crate::process::neighbour::{Neighbourhood, neighbourhood, unread_bytes};
use crate::process::{Share, Target};

/// How long a driver is given to read what has arrived in its socket.
const UNREAD_PAUSE: Duration = Duration::from_millis(200);

/// Collects what the processes are connected by.
pub(super) fn find(shares: &[Share<'_>], before: CounterSample) -> Facts {
    let first = sample(shares);
    let targets: Vec<_> = shares.iter().map(|share| share.target).collect();
    let transports: Transports = (first.links.iter())
        .filter_map(|(&key, link)| Some((key, link.transport?)))
        .collect();
    let Neighbourhood {
        neighbours,
        processes,
        links:
            LinkSockets {
                sockets: mut transports,
                unknown: mut unknown_sockets,
                peers: socket_peers,
            },
    } = neighbourhood(&targets, &transports);
    // Memory that was given back while it was read may have held another connection's transport by then.
    if !transports.is_empty() {
        let again = sample(shares);
        let transport = |sample: &Sample, key: &(u32, u64)| sample.links.get(key)?.transport;
        transports.retain(|key, _| transport(&first, key) == transport(&again, key));
    }
    for (&key, link) in &first.links {
        if link.transport.is_none() {
            unknown_sockets.insert(key, SocketUnknown::NotReported);
        }
    }
    let left_unread = left_unread(shares, &targets, &transports, &first);
    Facts {
        processes,
        neighbours,
        transports,
        unknown_sockets,
        socket_peers,
        left_unread,
        before,
        after: vec![first.into_counters(shares.len())],
        hubs: Vec::new(),
        ended: None,
        still_there: HashMap::new(),
    }
}

/// The sockets with unread bytes whose driver last ran long ago and does not read them now either.
fn left_unread(
    shares: &[Share<'_>],
    targets: &[&Target],
    transports: &HashMap<(u32, u64), Vec<TransportSocket>>,
    first: &Sample,
) -> HashSet<(u32, u64, u64)> {
    let now_ns: HashMap<u32, u64> = targets
        .iter()
        .map(|target| (target.pid(), target.clock.now_ns()))
        .collect();
    let is_late = |&(pid, serial): &(u32, u64)| {
        let polled_ns = first
            .links
            .get(&(pid, serial))
            .map_or(0, |link| link.polled_ns);
        polled_ns != 0 && now_ns[&pid].saturating_sub(polled_ns) >= STUCK_US * 1_000
    };
    let mut unread: HashSet<(u32, u64, u64)> = (transports.iter())
        .filter(|(key, _)| is_late(key))
        .flat_map(|(&(pid, serial), sockets)| {
            let unread = sockets.iter().filter(|socket| socket.unread_bytes > 0);
            unread.map(move |socket| (pid, serial, socket.inode))
        })
        .collect();
    if unread.is_empty() {
        return unread;
    }
    sleep(UNREAD_PAUSE);
    let inodes = unread.iter().map(|&(_, _, inode)| inode).collect();
    let bytes = unread_bytes(targets, &inodes);
    let again = sample(shares);
    unread.retain(|&(pid, serial, inode)| {
        let key = (pid, serial);
        first.links.get(&key) == again.links.get(&key)
            && bytes.get(&inode).is_some_and(|&bytes| bytes > 0)
    });
    unread
}
