//! The rows of all processes, and how one is found from another.

use std::cell::Cell;

use foldhash::{HashMap, HashMapExt};
use roam_trace_common::event::{ChannelDirection, Direction};

use super::facts::{Facts, ProcessFacts, StillThere};
use crate::model::{
    Channel, Connection, Delivering, Gap, ProcessState, Request, Snapshot, Source, Traffic,
};

/// One row: the index of its snapshot, and the row's own in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowId {
    pub(crate) process: u32,
    pub(crate) index: u32,
}

/// A connection by the serial of its row. A request may name one that has no row of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) process: u32,
    pub(crate) serial: u64,
}

/// A request's connection, direction and id on the wire, and its index in the list of its process.
type ById = (Endpoint, Direction, u64, u32);

/// Microseconds by which the moments of two rows may be off: one of them may be from a clock that is a timer tick
/// late.
pub(crate) const TOLERANCE_US: i64 = 10_000;

/// What was sent less than that ago may not have arrived yet.
pub(super) const SETTLED_US: u64 = 100_000;

/// Rows of one id on one connection that count. A target that has more has made them up.
const MAX_SAME_ID: usize = 64;

/// Everything that the rules look at.
pub(super) struct SnapshotIndex<'a> {
    pub(super) snapshots: &'a [Snapshot],
    pub(super) facts: &'a Facts,
    /// Microseconds from which something can be stuck.
    pub(super) stuck_us: u64,
    /// Whether there are both calls and handlers: otherwise there is nothing to pair.
    pub(super) both_directions: bool,
    connections: HashMap<Endpoint, u32>,
    /// The connection that was looked up last: rows beside each other are often of the same one.
    last_connection: Cell<Option<(Endpoint, u32)>>,
    requests: HashMap<(u32, u64), u32>,
    channels: HashMap<(Endpoint, u64), u32>,
    /// Every request by its connection, direction and id on the wire, sorted.
    by_id: Vec<ById>,
    delivering: HashMap<Endpoint, (Endpoint, Delivering)>,
    processes: HashMap<u32, u32>,
}

impl<'a> SnapshotIndex<'a> {
    pub(super) fn new(snapshots: &'a [Snapshot], facts: &'a Facts, stuck_us: u64) -> Self {
        let processes = (0..).zip(&facts.processes);
        let mut index = Self {
            snapshots,
            facts,
            stuck_us,
            both_directions: has_both_directions(snapshots),
            connections: HashMap::new(),
            last_connection: Cell::new(None),
            requests: HashMap::new(),
            channels: HashMap::new(),
            by_id: Vec::new(),
            delivering: HashMap::new(),
            processes: processes
                .map(|(at, facts)| (facts.process.pid, at))
                .collect(),
        };
        for (process, snapshot) in (0..).zip(snapshots) {
            index.add_rows(process, snapshot);
            index.add_deliveries(process, snapshot);
        }
        index.by_id.sort_unstable();
        index
    }

    fn add_rows(&mut self, process: u32, snapshot: &Snapshot) {
        let endpoint = |serial| Endpoint { process, serial };
        for (at, row) in (0..).zip(&snapshot.connections) {
            self.connections.insert(endpoint(row.serial), at);
        }
        for (at, row) in (0..).zip(&snapshot.requests) {
            // Calls are looked up by their channels only.
            if row.direction == Direction::Incoming || !snapshot.channels.is_empty() {
                self.requests.insert((process, row.serial), at);
            }
            if self.both_directions {
                let connection = endpoint(row.connection);
                self.by_id
                    .push((connection, row.direction, row.request_id, at));
            }
        }
        for (at, row) in (0..).zip(&snapshot.channels) {
            self.channels
                .insert((endpoint(row.connection), row.channel_id), at);
        }
    }

    fn add_deliveries(&mut self, process: u32, snapshot: &Snapshot) {
        for row in &snapshot.connections {
            if let Some(delivering) = row.delivering {
                let [link, at] = [row.link, row.serial].map(|serial| Endpoint { process, serial });
                let longest = self.delivering.entry(link).or_insert((at, delivering));
                if longest.1.waiting_us < delivering.waiting_us {
                    *longest = (at, delivering);
                }
            }
        }
    }

    pub(super) fn snapshot(&self, process: u32) -> &'a Snapshot {
        &self.snapshots[process as usize]
    }

    pub(super) fn request(&self, row: RowId) -> &'a Request {
        &self.snapshot(row.process).requests[row.index as usize]
    }

    /// Every request of every process.
    pub(super) fn requests(&self) -> impl Iterator<Item = (RowId, &'a Request)> + use<'a> {
        (0..).zip(self.snapshots).flat_map(|(process, snapshot)| {
            (0..)
                .zip(&snapshot.requests)
                .map(move |(index, row)| (RowId { process, index }, row))
        })
    }

    /// The incoming request whose handler made the call, while it is in flight.
    pub(super) fn parent(&self, row: RowId) -> Option<RowId> {
        let serial = self.request(row).parent?;
        self.request_by_serial(row.process, serial)
    }

    /// Requests of that id on a connection, which are rarely more than one.
    pub(super) fn rows_of(
        &self,
        endpoint: Endpoint,
        request_id: u64,
        direction: Direction,
    ) -> impl Iterator<Item = RowId> + use<'_, 'a> {
        let key = (endpoint, direction, request_id);
        let start = self
            .by_id
            .partition_point(|&(endpoint, direction, id, _)| (endpoint, direction, id) < key);
        self.by_id[start..]
            .iter()
            .take_while(move |&&(endpoint, direction, id, _)| (endpoint, direction, id) == key)
            .take(MAX_SAME_ID)
            .map(|&(endpoint, _, _, index)| RowId {
                process: endpoint.process,
                index,
            })
    }

    pub(super) fn request_by_serial(&self, process: u32, serial: u64) -> Option<RowId> {
        let index = *self.requests.get(&(process, serial))?;
        Some(RowId { process, index })
    }

    pub(super) fn endpoint(&self, row: RowId) -> Endpoint {
        Endpoint {
            process: row.process,
            serial: self.request(row).connection,
        }
    }

    pub(super) fn connection(&self, endpoint: Endpoint) -> Option<&'a Connection> {
        let index = match self.last_connection.get() {
            Some((last, index)) if last == endpoint => index,
            _ => {
                let index = *self.connections.get(&endpoint)?;
                self.last_connection.set(Some((endpoint, index)));
                index
            }
        };
        self.snapshot(endpoint.process)
            .connections
            .get(index as usize)
    }

    /// The root of the connection's link; a connection without a row is its own.
    pub(super) fn link(&self, endpoint: Endpoint) -> Endpoint {
        let link = self
            .connection(endpoint)
            .map_or(endpoint.serial, |row| row.link);
        Endpoint {
            serial: link,
            ..endpoint
        }
    }

    pub(super) fn channel(&self, endpoint: Endpoint, channel_id: u64) -> Option<&'a Channel> {
        let index = *self.channels.get(&(endpoint, channel_id))?;
        self.snapshot(endpoint.process).channels.get(index as usize)
    }

    /// The connection and channel that the driver of a link waits to deliver to for longest.
    pub(super) fn delivering(&self, link: Endpoint) -> Option<(Endpoint, Delivering)> {
        self.delivering.get(&link).copied()
    }

    pub(super) fn process_facts(&self, pid: u32) -> Option<&'a ProcessFacts> {
        let index = *self.processes.get(&pid)?;
        self.facts.processes.get(index as usize)
    }

    pub(super) fn is_connectivity_known(&self, pid: u32) -> bool {
        self.process_facts(pid)
            .is_some_and(|facts| facts.is_connectivity_known)
    }

    pub(super) fn state(&self, pid: u32) -> ProcessState {
        self.process_facts(pid)
            .map_or(ProcessState::Alive, |facts| facts.state)
    }

    pub(super) fn pid(&self, process: u32) -> u32 {
        self.snapshot(process).process.pid
    }

    /// When a request started, microseconds of the clock that all processes share.
    pub(super) fn started_us(&self, row: RowId) -> i64 {
        self.taken_us(row.process) - self.request(row).age_us as i64
    }

    /// Whether a request was under way before the snapshot of another process was taken, and still was afterwards: only
    /// then does it mean something that the other process has no row of it.
    pub(super) fn has_outlived(&self, row: RowId, other: u32) -> bool {
        let serial = self.request(row).serial;
        self.read_after_us(row, other) >= SETTLED_US as i64
            && self.is_still_there(row.process, |still_there| {
                still_there.requests.contains(&serial)
            })
    }

    /// Microseconds from the moment that a request reached its phase until another process was read.
    pub(super) fn read_after_us(&self, row: RowId, other: u32) -> i64 {
        let phase_age_us = self.request(row).phase_age_us as i64;
        self.taken_us(other) - (self.taken_us(row.process) - phase_age_us)
    }

    /// The same of a channel.
    pub(super) fn has_channel_outlived(&self, process: u32, row: &Channel, other: u32) -> bool {
        let opened_us = self.taken_us(process) - row.age_us as i64;
        opened_us + SETTLED_US as i64 <= self.taken_us(other)
            && self.is_still_there(process, |still_there| {
                still_there.channels.contains(&row.serial)
            })
    }

    /// Whether the last message of a link was sent so long before the snapshot of another process was taken that it must
    /// have been received.
    pub(super) fn is_sent_before(&self, process: u32, sent: Traffic, other: u32) -> bool {
        sent.idle_us.is_some_and(|idle_us| {
            let sent_us = self.taken_us(process) - idle_us as i64;
            sent_us + self.stuck_us as i64 <= self.taken_us(other)
        })
    }

    /// Where the tracer did not look again, what seems to be there counts as there: that is to be confirmed.
    fn is_still_there(&self, process: u32, has: impl Fn(&StillThere) -> bool) -> bool {
        let still_there = &self.facts.still_there;
        still_there.is_empty() || still_there.get(&self.pid(process)).is_some_and(has)
    }

    fn taken_us(&self, process: u32) -> i64 {
        (self.snapshot(process).taken_ns / 1_000) as i64
    }

    /// Whether a request that a process has would surely have a row.
    pub(super) fn has_all_requests(&self, process: u32) -> bool {
        self.is_complete(process, "requests")
    }

    /// Whether a channel that a process has would surely have a row.
    pub(super) fn has_all_channels(&self, process: u32) -> bool {
        self.is_complete(process, "channels")
    }

    fn is_complete(&self, process: u32, wanted: &str) -> bool {
        let snapshot = self.snapshot(process);
        snapshot.source != Source::Probes
            && snapshot.gaps.iter().all(|gap| match gap {
                Gap::TableFull { table, .. } => *table != wanted && *table != "connections",
                _ => false,
            })
    }
}

fn has_both_directions(snapshots: &[Snapshot]) -> bool {
    let has = |direction| {
        snapshots.iter().any(|snapshot| {
            let mut rows = snapshot.requests.iter();
            rows.any(|row| row.direction == direction)
        })
    };
    has(Direction::Outgoing) && has(Direction::Incoming)
}

/// Received items that nobody has read.
pub(super) fn unread(channel: &Channel) -> u64 {
    match channel.direction {
        ChannelDirection::Tx => 0,
        ChannelDirection::Rx => channel
            .items_read
            .map_or(0, |read| channel.items_received.saturating_sub(read)),
    }
}
