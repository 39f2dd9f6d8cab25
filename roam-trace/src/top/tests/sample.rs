//! Two processes in two readings, a second apart.

use std::collections::HashMap;
use std::sync::Arc;

use roam_dump::analysis::{Facts, Thresholds};
use roam_dump::model::{
    Channel, Connection, Driver, Gap, Latency, MethodStatistics, Outcomes, Process, Request,
    Snapshot, Source, TableUse, Traffic,
};
use roam_dump::read::Latencies;
use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Phase, RequestKind, Role,
};
use roam_trace_common::latency::{BUCKETS, bucket_of, units_of_ns};

use crate::top::{Key, MethodKey, ProcessReading, ProcessStatus, Reading};

const SECOND_NS: u64 = 1_000_000_000;
const HOST: u32 = 4_001;

/// The first reading, if `second` is 0, and those that follow it.
pub(crate) fn reading(second: u64) -> Reading {
    let mut host = process(HOST, "host", second);
    let cell = host.snapshot.requests.len() as u64 + 1;
    host.call(cell, "Markdown.convert", Direction::Outgoing, 12_800_000);
    host.call(
        cell + 1,
        "ContentService.compile",
        Direction::Incoming,
        30_000,
    );
    host.count(
        "Markdown.convert",
        Direction::Outgoing,
        900 + 100 * second,
        9_000_000,
    );
    host.count(
        "ContentService.compile",
        Direction::Incoming,
        50_000 * second,
        331_000,
    );
    host.count("数据.读取", Direction::Outgoing, 7, 61_000_000_000);
    let snapshot = &mut host.snapshot;
    snapshot
        .connections
        .push(connection(7, "cell-markdown", 12_345 * second));
    snapshot.channels.push(channel(9, 1_200_000 * second));
    snapshot.tables = [("requests", 131_072), ("channels", 9), ("connections", 16)]
        .map(|(table, capacity)| TableUse {
            table,
            used: 8,
            high_water: 8,
            capacity,
        })
        .to_vec();
    snapshot.gaps.push(Gap::TableFull {
        table: "channels",
        count: 3,
    });

    let mut worker = process(4_002, "worker", second);
    worker.count(
        "Markdown.convert",
        Direction::Incoming,
        900 + 100 * second,
        8_800_000,
    );
    let mut processes = vec![host, worker];
    let mut snapshots: Vec<_> = processes.iter().map(|row| row.snapshot.clone()).collect();
    let graph = roam_dump::explain(&mut snapshots, &Facts::default(), &Thresholds::default()).graph;
    for (process, snapshot) in processes.iter_mut().zip(snapshots) {
        process.snapshot = snapshot;
    }
    Reading {
        processes,
        graph,
        problems: Vec::new(),
    }
}

/// The same after the first process has ended.
pub(crate) fn reading_after_the_end() -> Reading {
    let mut reading = reading(2);
    let host = &mut reading.processes[0];
    host.status = ProcessStatus::Ended;
    host.snapshot = Snapshot::new(host.snapshot.process.clone(), Source::Registry, 0);
    host.latencies.clear();
    reading
}

/// A reading with that many calls of as many methods.
pub(crate) fn crowd(calls: u64) -> Reading {
    let mut host = process(HOST, "host", 0);
    for number in 0..calls {
        host.call(
            number + 1,
            &format!("Service.m{number}"),
            Direction::Outgoing,
            number * 1_000,
        );
    }
    Reading {
        processes: vec![host],
        ..Reading::default()
    }
}

fn process(pid: u32, name: &str, second: u64) -> ProcessReading {
    let taken_ns = (1_000 + second) * SECOND_NS;
    ProcessReading {
        key: Key {
            pid,
            start_ticks: 77,
        },
        status: ProcessStatus::Read,
        snapshot: Snapshot::new(Process::new(pid, name), Source::Registry, taken_ns),
        latencies: HashMap::new(),
    }
}

fn method_id(method: &str) -> u64 {
    (method.bytes()).fold(7, |id: u64, byte| id.wrapping_mul(31) + u64::from(byte))
}

impl ProcessReading {
    /// A call in flight.
    fn call(&mut self, serial: u64, method: &str, direction: Direction, age_us: u64) {
        self.snapshot.requests.push(Request {
            serial,
            source: Source::Registry,
            direction,
            kind: RequestKind::Call,
            connection: 7,
            connection_name: Some("cell-markdown".into()),
            parent: None,
            request_id: 90 + serial,
            method_id: method_id(method),
            method: Some(method.into()),
            arguments: None,
            phase: match direction {
                Direction::Outgoing => Phase::Sent,
                Direction::Incoming => Phase::Running,
            },
            writes_observable: true,
            mark: None,
            age_us,
            phase_age_us: age_us,
            request_bytes: 25,
            response_bytes: None,
            verdict: None,
        });
    }

    /// Calls that have ended, all of them within that time.
    fn count(&mut self, method: &str, direction: Direction, calls: u64, ns: u64) {
        let longest = units_of_ns(ns);
        let mut buckets = [0; BUCKETS];
        buckets[bucket_of(longest)] = calls;
        let key = MethodKey {
            registry: 0,
            direction,
            method_id: method_id(method),
        };
        self.latencies
            .insert(key, Latencies::new(&buckets, longest));
        let us = ns / 1_000;
        self.snapshot.methods.push(MethodStatistics {
            method_id: key.method_id,
            method: Some(method.into()),
            direction,
            registry: 0,
            outcomes: Outcomes {
                ok: calls - calls / 100,
                dropped: calls / 100,
                ..Outcomes::default()
            },
            request_bytes: calls * 25,
            response_bytes: calls,
            latency: (calls > 0).then_some(Latency {
                p50_us: us,
                p90_us: us,
                p99_us: us,
                max_us: us,
            }),
            last_ended_us: None,
        });
    }
}

fn connection(serial: u64, name: &str, bytes: u64) -> Connection {
    let traffic = Traffic {
        messages: bytes / 100,
        payload_bytes: bytes,
        idle_us: Some(200_000),
    };
    Connection {
        serial,
        source: Source::Registry,
        link: serial,
        conn_id: 0,
        name: Arc::from(name),
        role: Role::Initiator,
        state: ConnectionState::Open,
        state_age_us: 60_000_000,
        attempts: 0,
        last_error: None,
        losses: 0,
        age_us: 60_000_000,
        sent: Some(traffic),
        received: Some(traffic),
        delivering: None,
        driver: Some(Driver {
            polled_age_us: 100_000,
            writing_us: None,
            enqueued: 12,
            dequeued: 9,
        }),
        socket: None,
        socket_unknown: None,
        peer: None,
        possible_peers: Vec::new(),
        verdict: None,
    }
}

fn channel(serial: u64, bytes: u64) -> Channel {
    Channel {
        serial,
        source: Source::Registry,
        connection: 7,
        connection_name: Some("cell-markdown".into()),
        channel_id: 370,
        request: None,
        request_id: None,
        direction: ChannelDirection::Rx,
        side: ChannelSide::Client,
        element_type: Some("Vec<u8>".into()),
        age_us: 60_000_000,
        idle_us: Some(40_000),
        bytes_sent: 0,
        items_sent: 0,
        bytes_received: bytes,
        items_received: bytes / 1_000,
        items_read: Some(bytes / 2_000),
        receive_budget_bytes: None,
        reader_gone: false,
        writer_gone: false,
        verdict: None,
    }
}
