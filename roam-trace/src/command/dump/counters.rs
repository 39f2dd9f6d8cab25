//! What the connections of processes have counted.

use roam_dump::analysis::{CounterSample, Counters};

use crate::merge::serial_of;
use crate::process::Share;

/// Samples the counters of every connection of several processes. What cannot be read is left out: it is
/// reported where its rows are read.
pub(super) fn counters(shares: &[Share<'_>]) -> CounterSample {
    let mut sample = CounterSample::default();
    // One process alone has nothing to be compared with.
    if shares.len() < 2 {
        return sample;
    }
    for Share { target, budget } in shares {
        let registries = target.read_connections(*budget).unwrap_or_default();
        for (registry, connections) in (0..).zip(registries) {
            for row in connections.values() {
                let counters = Counters {
                    messages_sent: row.messages_sent,
                    bytes_sent: row.bytes_sent,
                    messages_received: row.messages_received,
                    bytes_received: row.bytes_received,
                };
                let serial = serial_of(registry, row.serial);
                sample.0.insert((target.pid(), serial), counters);
            }
        }
    }
    sample
}
