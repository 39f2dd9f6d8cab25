//! The requests that started and ended while the probes were attached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roam_dump::decode::Names;
use roam_dump::model::{ConnectionWindow, Snapshot, Window};
use roam_dump::read::Image;
use roam_trace_common::event::{RecordKey, TrafficValue};

use super::registries::SERIAL_MASK;
use crate::micros::micros;

/// Counts the requests that started and ended on each connection while the probes were attached: every connection
/// of the snapshot, also without any, and those that only had traffic. `images` provide the names.
pub fn window(
    snapshot: &Snapshot,
    traffic: &[(RecordKey, TrafficValue)],
    images: &[Image],
    duration: Duration,
) -> Window {
    let pid = snapshot.process.pid;
    let names = Names::of_all(images);
    let mut traffic: BTreeMap<u64, TrafficValue> = traffic
        .iter()
        .filter(|(key, _)| key.tgid == pid)
        .map(|(key, value)| (key.serial, *value))
        .collect();
    let mut connections: Vec<_> = snapshot
        .connections
        .iter()
        .map(|connection| {
            let value = traffic.remove(&(connection.serial & SERIAL_MASK));
            row(connection.serial, Some(&connection.name), value)
        })
        .collect();
    connections.extend(
        traffic
            .into_iter()
            .map(|(serial, value)| row(serial, names.connections.get(&serial), Some(value))),
    );
    Window {
        duration_us: micros(duration),
        connections,
    }
}

fn row(connection: u64, name: Option<&Arc<str>>, value: Option<TrafficValue>) -> ConnectionWindow {
    let value = value.unwrap_or_default();
    ConnectionWindow {
        connection,
        connection_name: name.cloned(),
        started: value.started,
        ended: value.ended,
    }
}

#[cfg(test)]
mod tests {
    use roam_dump::decode::{KernelRows, from_kernel};
    use roam_dump::model::Process;
    use roam_dump::read::Budget;
    use roam_trace_common::event::{ConnectionValue, Role};

    use super::*;

    const PID: u32 = 7;

    fn key(tgid: u32, serial: u64) -> RecordKey {
        RecordKey {
            serial,
            tgid,
            reserved: 0,
        }
    }

    #[test]
    fn windows() {
        let connection = ConnectionValue {
            role: Role::Initiator.code(),
            ..ConnectionValue::default()
        };
        let connections = [(key(PID, 3), connection), (key(PID, 4), connection)];
        let process = Process::new(PID, "demo");
        let rows = KernelRows {
            connections: connections.iter().collect(),
            ..KernelRows::default()
        };
        let snapshot = from_kernel(process, rows, &[], 0, &Budget::default());
        let traffic = |started, ended| TrafficValue { started, ended };
        let traffic = [
            (key(PID, 4), traffic(5, 4)),
            (key(PID, 9), traffic(1, 1)),
            (key(PID + 1, 3), traffic(7, 7)),
        ];
        let window = window(&snapshot, &traffic, &[], Duration::from_millis(5));
        let rows: Vec<_> = window
            .connections
            .iter()
            .map(|row| (row.connection, row.started, row.ended))
            .collect();
        assert_eq!(window.duration_us, 5_000);
        assert_eq!(rows, [(3, 0, 0), (4, 5, 4), (9, 1, 1)]);
    }
}
