//! What the connections of processes published at one moment: counters, and where their transports are.

use std::collections::{HashMap, HashSet};

use roam_dump::analysis::{CounterSample, Counters, EndedSample, StillThere};
use roam_dump::model::Snapshot;
use roam_trace_common::event::{ConnectionState, Direction};
use roam_trace_common::registry::ConnectionRecord;

use crate::merge::serial_of;
use crate::process::Share;
use crate::process::claims::TransportObject;

/// What connections published.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// The counters of all connections.
    pub(super) counters: CounterSample,
    /// The open links, by pid and serial of the root connection.
    pub(super) links: HashMap<(u32, u64), Link>,
}

/// A link that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Where its transport is, if its driver reports that.
    pub(super) transport: Option<TransportObject>,
    /// The heartbeat of its driver, on the clock of the process; 0 for none.
    pub(super) polled_ns: u64,
}

/// Samples the connections of several processes. What cannot be read is left out: it is reported where its rows are
/// read.
pub(super) fn sample(shares: &[Share<'_>]) -> Sample {
    let mut sample = Sample::default();
    for Share { target, budget } in shares {
        let registries = target.read_connections(*budget).unwrap_or_default();
        for (registry, connections) in (0..).zip(registries) {
            for row in connections.values() {
                let key = (target.pid(), serial_of(registry, row.serial));
                sample.add(key, row);
            }
        }
    }
    sample
}

/// How many calls of each method have ended. What cannot be read is left out.
pub(super) fn ended(shares: &[Share<'_>]) -> EndedSample {
    let mut sample = EndedSample::default();
    for Share { target, budget } in shares {
        let registries = target.read_ended(*budget).unwrap_or_default();
        for ((method_id, direction), ended) in registries.into_iter().flatten() {
            if let Some(direction) = Direction::from_code(direction) {
                let key = (target.pid(), direction, method_id);
                let sum = sample.0.entry(key).or_default();
                *sum = sum.saturating_add(ended);
            }
        }
    }
    sample
}

/// Which of the rows of snapshots are still in flight. A process that cannot be read has nothing in flight any more.
pub(super) fn still_there(
    shares: &[Share<'_>],
    snapshots: &[Snapshot],
) -> HashMap<u32, StillThere> {
    snapshots
        .iter()
        .map(|snapshot| {
            let pid = snapshot.process.pid;
            let share = shares.iter().find(|share| share.target.pid() == pid);
            let registries = share.and_then(|share| share.target.read_serials(share.budget).ok());
            let mut still_there = StillThere::default();
            let requests: HashSet<_> = snapshot.requests.iter().map(|row| row.serial).collect();
            // Of requests that only probes report, no registry shows whether they ended.
            if snapshot.is_probes_only() {
                still_there.requests.extend(&requests);
            }
            let channels: HashSet<_> = snapshot.channels.iter().map(|row| row.serial).collect();
            for (registry, serials) in (0..).zip(registries.unwrap_or_default()) {
                let [read_requests, read_channels] = serials.map(|serials| {
                    let serials = serials.into_iter();
                    serials.map(move |serial| serial_of(registry, serial))
                });
                let in_flight = read_requests.filter(|serial| requests.contains(serial));
                still_there.requests.extend(in_flight);
                let open = read_channels.filter(|serial| channels.contains(serial));
                still_there.channels.extend(open);
            }
            (pid, still_there)
        })
        .collect()
}

impl Sample {
    /// The counters, if there are several processes: one alone is compared with nothing.
    pub(super) fn into_counters(self, processes: usize) -> CounterSample {
        match processes {
            1 => CounterSample::default(),
            _ => self.counters,
        }
    }

    fn add(&mut self, key: (u32, u64), row: &ConnectionRecord) {
        let counters = Counters {
            messages_sent: row.messages_sent,
            bytes_sent: row.bytes_sent,
            messages_received: row.messages_received,
            bytes_received: row.bytes_received,
        };
        self.counters.0.insert(key, counters);
        if row.link == row.serial && row.state == ConnectionState::Open.code() {
            let transport = TransportObject {
                address: row.transport_address,
                bytes: row.transport_bytes,
            };
            let link = Link {
                transport: Some(transport).filter(|transport| transport.address != 0),
                polled_ns: row.polled_ns,
            };
            self.links.insert(key, link);
        }
    }
}
