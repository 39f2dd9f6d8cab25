//! Processes, connections and calls that are made up, as snapshots would show
//! them: both ends of everything, with counters that agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use roam_diagnostic::registry::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Phase, RequestKind, Role,
};
use roam_dump::analysis::{Facts, Neighbour, Peer, ProcessFacts, Thresholds, TransportSocket, Via};
use roam_dump::model::{
    Channel, Connection, Driver, Latency, MethodStatistics, Outcomes, Process, ProcessState,
    Request, Snapshot, Source, Traffic, Verdict, WaitGraph,
};
use roam_dump::render::{graph, text};
use roam_dump::{Explanation, explain};

pub(crate) const SECOND: u64 = 1_000_000;
const NOW_US: u64 = 100_000 * SECOND;

/// All snapshots, and what a tracer knows besides.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) facts: Facts,
    next_serial: u64,
    next_request_id: BTreeMap<(usize, u64), u64>,
}

/// The two rows of a link. The first process opened it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) ends: [End; 2],
}

/// A row by its process and serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) process: usize,
    pub(crate) serial: u64,
}

/// The wait graph as people see it.
pub(crate) fn as_text(graph: &WaitGraph) -> String {
    let mut out = Vec::new();
    let options = text::Options {
        width: usize::MAX,
        ..text::Options::plain()
    };
    graph::render(&mut out, graph, &options).unwrap();
    String::from_utf8(out).unwrap()
}

/// The two rows of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) caller: End,
    pub(crate) callee: End,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            snapshots: Vec::new(),
            facts: Facts::default(),
            next_serial: 1,
            next_request_id: BTreeMap::new(),
        }
    }

    pub(crate) fn process(&mut self, name: &str) -> usize {
        let pid = 4_001 + self.snapshots.len() as u32;
        let process = Process::new(pid, name);
        self.facts.processes.push(ProcessFacts {
            process: process.clone(),
            state: ProcessState::Alive,
            threads: BTreeMap::from([('S', 3)]),
            is_connectivity_known: true,
            descriptors: None,
            untraced: None,
        });
        self.snapshots
            .push(Snapshot::new(process, Source::Registry, NOW_US * 1_000));
        self.snapshots.len() - 1
    }

    pub(crate) fn set_state(&mut self, process: usize, state: ProcessState) {
        self.facts.processes[process].state = state;
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// A link that `from` opened that long ago.
    pub(crate) fn connect(&mut self, from: usize, to: usize, age_us: u64) -> Link {
        self.facts.neighbours.push(Neighbour {
            pid: self.snapshots[from].process.pid,
            peer: Peer::Process {
                pid: self.snapshots[to].process.pid,
                held_by: None,
            },
            via: Via::Unix,
        });
        let ends = [(from, to, Role::Initiator), (to, from, Role::Acceptor)].map(
            |(process, other, role)| {
                let serial = self.serial();
                let name = self.snapshots[other].process.name.clone();
                self.snapshots[process]
                    .connections
                    .push(connection(serial, serial, 0, &name, role, age_us));
                End { process, serial }
            },
        );
        // The Hello of each side.
        for (a, b) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            self.send(a, b, 20, age_us);
        }
        Link { ends }
    }

    /// The sockets of a link, as if they were found in the memory of its transports.
    pub(crate) fn find_sockets(&mut self, link: Link) {
        let [a, b] = link.ends;
        for (own, other) in [(a, b), (b, a)] {
            self.find_socket(own, own.serial, other.serial);
            let peer = Peer::Process {
                pid: self.snapshots[other.process].process.pid,
                held_by: None,
            };
            self.facts.socket_peers.insert(own.serial, vec![peer]);
        }
    }

    /// A socket that was found in the memory of a link's transport, be it the link's or not.
    pub(crate) fn find_socket(
        &mut self,
        end: End,
        inode: u64,
        peer_inode: u64,
    ) -> &mut TransportSocket {
        let key = (self.snapshots[end.process].process.pid, end.serial);
        let found = self.facts.transports.entry(key).or_default();
        found.push(TransportSocket {
            descriptor: inode as i32,
            inode,
            peer_inode: Some(peer_inode),
            is_in_place: false,
            via: Via::Unix,
            local: None,
            remote: None,
            unread_bytes: 0,
            unsent_bytes: 0,
            carried_bytes: None,
        });
        found.last_mut().unwrap()
    }

    /// A virtual connection on a link.
    pub(crate) fn open_virtual(&mut self, link: Link, conn_id: u64) -> Link {
        let ends = link.ends.map(|end| {
            let serial = self.serial();
            let root = self.connection(end).clone();
            self.snapshots[end.process].connections.push(connection(
                serial,
                end.serial,
                conn_id,
                &root.name,
                root.role,
                root.age_us,
            ));
            End { serial, ..end }
        });
        Link { ends }
    }

    /// A message from one end to the other.
    pub(crate) fn send(&mut self, from: End, to: End, bytes: u64, ago_us: u64) {
        let add = |traffic: &mut Option<Traffic>| {
            let traffic = traffic.as_mut().unwrap();
            traffic.messages += 1;
            traffic.payload_bytes += bytes;
            traffic.idle_us = Some(traffic.idle_us.unwrap_or(u64::MAX).min(ago_us));
        };
        add(&mut self.connection(from).sent);
        add(&mut self.connection(to).received);
    }

    /// A call that `from` made over the link that long ago, and whose handler has run almost as long.
    pub(crate) fn call(&mut self, from: usize, link: Link, method: &str, age_us: u64) -> Call {
        let [first, second] = link.ends;
        let (caller, callee) = if first.process == from {
            (first, second)
        } else {
            (second, first)
        };
        let request_id = self
            .next_request_id
            .entry((from, caller.serial))
            .or_default();
        *request_id += 1;
        let request_id = *request_id;
        self.send(caller, callee, 40 + request_id % 7, age_us);
        let mut row = |end: End, direction, phase, age_us| {
            let serial = self.serial();
            let connection_name = Some(self.connection(end).name.clone());
            self.snapshots[end.process].requests.push(Request {
                serial,
                source: Source::Registry,
                direction,
                kind: RequestKind::Call,
                connection: end.serial,
                connection_name,
                parent: None,
                request_id,
                method_id: method_id(method),
                method: Some(method.into()),
                arguments: None,
                phase,
                writes_observable: true,
                mark: None,
                age_us,
                phase_age_us: age_us,
                request_bytes: 12,
                response_bytes: None,
                verdict: None,
            });
            End { serial, ..end }
        };
        Call {
            caller: row(caller, Direction::Outgoing, Phase::Sent, age_us),
            callee: row(
                callee,
                Direction::Incoming,
                Phase::Running,
                age_us.saturating_sub(1_000),
            ),
        }
    }

    /// The same, made by the handler of another call.
    pub(crate) fn call_from(
        &mut self,
        handler: End,
        link: Link,
        method: &str,
        age_us: u64,
    ) -> Call {
        let call = self.call(handler.process, link, method, age_us);
        self.request(call.caller).parent = Some(handler.serial);
        call
    }

    pub(crate) fn request(&mut self, row: End) -> &mut Request {
        self.snapshots[row.process]
            .requests
            .iter_mut()
            .find(|request| request.serial == row.serial)
            .unwrap()
    }

    /// Takes a row away, as if its process had none.
    pub(crate) fn forget(&mut self, row: End) {
        self.snapshots[row.process]
            .requests
            .retain(|request| request.serial != row.serial);
    }

    pub(crate) fn connection(&mut self, end: End) -> &mut Connection {
        self.snapshots[end.process]
            .connections
            .iter_mut()
            .find(|connection| connection.serial == end.serial)
            .unwrap()
    }

    /// Reports a driver that last ran that long ago.
    pub(crate) fn set_driver(
        &mut self,
        end: End,
        polled_age_us: u64,
        enqueued: u64,
        dequeued: u64,
    ) {
        self.connection(end).driver = Some(Driver {
            polled_age_us,
            writing_us: None,
            enqueued,
            dequeued,
        });
    }

    /// Both ends of a channel, the sending one first.
    pub(crate) fn channel(&mut self, channel_id: u64, from: End, to: End) -> [End; 2] {
        [
            (from, ChannelDirection::Tx, ChannelSide::Client),
            (to, ChannelDirection::Rx, ChannelSide::Server),
        ]
        .map(|(row, direction, side)| {
            let serial = self.serial();
            let request = self.request(row).clone();
            self.snapshots[row.process].channels.push(Channel {
                serial,
                source: Source::Registry,
                connection: request.connection,
                connection_name: None,
                channel_id,
                request: Some(request.serial),
                request_id: Some(request.request_id),
                direction,
                side,
                element_type: Some("u8".into()),
                age_us: request.age_us,
                idle_us: None,
                bytes_sent: 0,
                items_sent: 0,
                bytes_received: 0,
                items_received: 0,
                items_read: Some(0),
                receive_budget_bytes: None,
                reader_gone: false,
                writer_gone: false,
                verdict: None,
            });
            End { serial, ..row }
        })
    }

    pub(crate) fn channel_row(&mut self, row: End) -> &mut Channel {
        self.snapshots[row.process]
            .channels
            .iter_mut()
            .find(|channel| channel.serial == row.serial)
            .unwrap()
    }

    /// Leaves only the snapshots of these processes, as if the others were not traced.
    pub(crate) fn trace_only(&mut self, processes: &[usize]) {
        let mut index = 0;
        self.snapshots.retain(|_| {
            index += 1;
            processes.contains(&(index - 1))
        });
    }

    pub(crate) fn explain(&mut self) -> Explanation {
        self.explain_by(&Thresholds::default())
    }

    pub(crate) fn explain_by(&mut self, thresholds: &Thresholds) -> Explanation {
        explain(&mut self.snapshots, &self.facts, thresholds)
    }

    /// Calls of a method that ended in a process: how many were answered, and the p50 and p99 of those.
    pub(crate) fn answered(
        &mut self,
        process: usize,
        direction: Direction,
        method: &str,
        ok: u64,
        [p50_us, p99_us]: [u64; 2],
    ) {
        self.snapshots[process].methods.push(MethodStatistics {
            method_id: method_id(method),
            method: Some(method.into()),
            direction,
            registry: 0,
            outcomes: Outcomes {
                ok,
                ..Outcomes::default()
            },
            request_bytes: 0,
            response_bytes: 0,
            latency: (ok > 0).then_some(Latency {
                p50_us,
                p90_us: p99_us,
                p99_us,
                max_us: p99_us,
            }),
            last_ended_us: (ok > 0).then_some(SECOND / 10),
        });
    }

    /// Bytes that have arrived at an end and that its process has not read, in a socket that is in its place.
    pub(crate) fn set_unread(&mut self, end: End, unread_bytes: u64) {
        let pid = self.snapshots[end.process].process.pid;
        let key = (pid, end.serial);
        self.facts.transports.remove(&key);
        let socket = self.find_socket(end, end.serial, u64::MAX - end.serial);
        (socket.unread_bytes, socket.is_in_place) = (unread_bytes, true);
        let left = (pid, end.serial, end.serial);
        if unread_bytes > 0 {
            self.facts.left_unread.insert(left);
        } else {
            self.facts.left_unread.remove(&left);
        }
    }

    /// The verdict of a row, after [`Self::explain`]: its code and text.
    pub(crate) fn verdict(&self, serial: u64) -> Option<Arc<Verdict>> {
        self.snapshots.iter().find_map(|snapshot| {
            let requests = snapshot
                .requests
                .iter()
                .map(|row| (row.serial, &row.verdict));
            let channels = snapshot
                .channels
                .iter()
                .map(|row| (row.serial, &row.verdict));
            let connections = snapshot
                .connections
                .iter()
                .map(|row| (row.serial, &row.verdict));
            requests
                .chain(channels)
                .chain(connections)
                .find(|&(of, _)| of == serial)
                .and_then(|(_, verdict)| verdict.clone())
        })
    }
}

pub(crate) fn method_id(method: &str) -> u64 {
    method.bytes().fold(7, |id: u64, byte| {
        id.wrapping_mul(31).wrapping_add(byte.into())
    })
}

fn connection(
    serial: u64,
    link: u64,
    conn_id: u64,
    name: &str,
    role: Role,
    age_us: u64,
) -> Connection {
    let none = Some(Traffic {
        messages: 0,
        payload_bytes: 0,
        idle_us: None,
    });
    Connection {
        serial,
        source: Source::Registry,
        link,
        conn_id,
        name: name.into(),
        role,
        state: ConnectionState::Open,
        state_age_us: age_us,
        attempts: 0,
        last_error: None,
        losses: 0,
        age_us,
        sent: none,
        received: none,
        delivering: None,
        driver: None,
        socket: None,
        socket_unknown: None,
        peer: None,
        possible_peers: Vec::new(),
        verdict: None,
    }
}
