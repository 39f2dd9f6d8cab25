//! What the connections of processes have counted.

use roam_dump::analysis::{Counters, Moved};

use crate::merge::serial_of;
use crate::process::Share;

/// Samples the counters of every connection of several processes. What cannot be read is left out: it is
/// reported where its rows are read.
pub(super) fn counters(shares: &[Share<'_>]) -> Counters {
    let mut counters = Counters::default();
    // One process alone has nothing to be compared with.
    if shares.len() < 2 {
        return counters;
    }
    for Share { target, budget } in shares {
        let registries = target.read_connections(*budget).unwrap_or_default();
        for (registry, connections) in (0..).zip(registries) {
            for row in connections.values() {
                let moved = Moved([
                    row.messages_sent,
                    row.bytes_sent,
                    row.messages_received,
                    row.bytes_received,
                ]);
                let serial = serial_of(registry, row.serial);
                counters.0.insert((target.pid(), serial), moved);
            }
        }
    }
    counters
}
