//! What keeps the driver of a link from doing its work.

use std::cell::OnceCell;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use roam_trace_common::event::{ChannelDirection, ConnectionState, Direction, Phase};

use super::evidence;
use super::index::{Endpoint, RowId, SnapshotIndex, unread};
use super::pairing::Pairs;
use crate::model::{Confidence, Evidence, ProcessState, Relation, Request};

/// What keeps a driver from doing its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriverStall {
    /// It waits for room in a channel's buffer.
    Delivering {
        at: Endpoint,
        channel_id: u64,
        waiting_us: u64,
        reader: ChannelReader,
    },
    /// It waits for its transport.
    Writing { waiting_us: u64 },
    /// Its runtime does not run it.
    NotPolled { polled_age_us: u64 },
}

/// Who is to read a channel: the process with the buffer, by the handler of a call that it serves, or the caller of one
/// that it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelReader {
    /// The request that the channel belongs to.
    Request(RowId),
    /// That request has ended.
    RequestEnded,
    Unknown,
}

impl ChannelReader {
    pub(super) fn request(self) -> Option<RowId> {
        match self {
            Self::Request(row) => Some(row),
            Self::RequestEnded | Self::Unknown => None,
        }
    }
}

impl DriverStall {
    /// Microseconds that it has lasted.
    pub(super) fn since_us(&self) -> u64 {
        match *self {
            Self::Delivering { waiting_us, .. } | Self::Writing { waiting_us } => waiting_us,
            Self::NotPolled { polled_age_us } => polled_age_us,
        }
    }
}

/// The drivers of all links.
pub(super) struct Drivers<'a> {
    index: &'a SnapshotIndex<'a>,
    /// Messages that the other end sent before [`SnapshotIndex::stuck_us`] and the link has not taken.
    not_received: HashMap<Endpoint, u64>,
    /// Bytes in the socket of the link that its driver left there.
    unread: HashMap<Endpoint, u64>,
    /// Links whose socket has nothing left to send.
    has_room: HashSet<Endpoint>,
    /// Requests of each link that wait for its driver, counted at the first need.
    behind: OnceCell<HashMap<Endpoint, u64>>,
}

impl<'a> Drivers<'a> {
    pub(super) fn new(index: &'a SnapshotIndex<'a>, pairs: &Pairs) -> Self {
        let mut not_received = HashMap::new();
        let mut unread = HashMap::new();
        let mut has_room = HashSet::new();
        for (process, snapshot) in (0..).zip(index.snapshots) {
            for row in &snapshot.connections {
                let link = Endpoint {
                    process,
                    serial: row.link,
                };
                if link.serial == row.serial
                    && let Some((socket, confidence)) = pairs.socket(link)
                    && confidence > Confidence::Medium
                {
                    let key = (snapshot.process.pid, row.serial, socket.inode);
                    if socket.unread_bytes > 0 && index.facts.left_unread.contains(&key) {
                        unread.insert(link, socket.unread_bytes);
                    }
                    if socket.unsent_bytes == 0 {
                        has_room.insert(link);
                    }
                }
                // What was taken for the other end by its counters must not be judged by them.
                let sent = pairs
                    .partner(link)
                    .filter(|partner| partner.confidence == Confidence::Known)
                    .and_then(|partner| pairs.connection_of(partner.link, row.conn_id))
                    .and_then(|there| Some((there, index.connection(there)?.sent?)));
                if let (Some((there, sent)), Some(received)) = (sent, row.received)
                    && sent.messages > received.messages
                    && index.is_sent_before(there.process, sent, process)
                {
                    let more = sent.messages - received.messages;
                    let messages: &mut u64 = not_received.entry(link).or_default();
                    *messages = messages.saturating_add(more);
                }
            }
        }
        Self {
            index,
            not_received,
            unread,
            has_room,
            behind: OnceCell::new(),
        }
    }

    pub(super) fn stall(&self, link: Endpoint) -> Option<DriverStall> {
        let stuck_us = self.index.stuck_us;
        let row = self.index.connection(link);
        // The driver of a closed connection is gone, whatever its queue held.
        if row.is_some_and(|row| row.state != ConnectionState::Open) {
            return None;
        }
        // A driver that was stopped while it waited need not wait any longer.
        let is_alive = self.index.state(self.index.pid(link.process)) == ProcessState::Alive;
        if let Some((at, delivering)) = self.index.delivering(link)
            && delivering.waiting_us >= stuck_us
            && is_alive
        {
            return Some(DriverStall::Delivering {
                at,
                channel_id: delivering.channel_id,
                waiting_us: delivering.waiting_us,
                reader: self.reader(at, delivering.channel_id),
            });
        }
        let driver = row?.driver?;
        let is_late = driver.polled_age_us >= stuck_us;
        let writing_us = driver.writing_us.filter(|_| is_alive);
        // If its socket has room by now, it would go on if it ran.
        let may_write = writing_us.is_some() && is_late && self.has_room.contains(&link);
        if let Some(waiting_us) = writing_us.filter(|_| !may_write) {
            return (waiting_us >= stuck_us).then_some(DriverStall::Writing { waiting_us });
        }
        let has_work = may_write
            || driver.enqueued > driver.dequeued
            || self.not_received.contains_key(&link)
            || self.unread.contains_key(&link);
        (has_work && is_late).then_some(DriverStall::NotPolled {
            polled_age_us: driver.polled_age_us,
        })
    }

    /// Bytes in the socket of a link that its driver left there.
    pub(super) fn unread_bytes(&self, link: Endpoint) -> u64 {
        self.unread.get(&link).copied().unwrap_or(0)
    }

    fn reader(&self, at: Endpoint, channel_id: u64) -> ChannelReader {
        let index = self.index;
        let request = (index.channel(at, channel_id))
            .filter(|channel| channel.direction == ChannelDirection::Rx)
            .and_then(|channel| channel.request);
        let Some(serial) = request else {
            return ChannelReader::Unknown;
        };
        match index.request_by_serial(at.process, serial) {
            Some(row) => ChannelReader::Request(row),
            None if index.snapshot(at.process).gaps.is_empty() => ChannelReader::RequestEnded,
            None => ChannelReader::Unknown,
        }
    }

    pub(super) fn evidence(&self, link: Endpoint, stall: DriverStall) -> Vec<Evidence> {
        let index = self.index;
        let pid = index.pid(link.process);
        let mut found: Vec<_> = evidence::driver(index, link).into_iter().collect();
        match stall {
            DriverStall::Delivering {
                at,
                channel_id,
                waiting_us,
                reader,
            } => {
                found.push(Evidence::Delivering {
                    pid,
                    channel_id,
                    waiting_us,
                    unread_items: index.channel(at, channel_id).map(unread),
                    requests_behind: self.requests_behind(link),
                });
                let reader = reader.request();
                found.extend(reader.map(|row| evidence::row(index, Relation::ChannelOwner, row)));
            }
            DriverStall::Writing { .. } => {}
            DriverStall::NotPolled { .. } => {
                let messages = self.not_received.get(&link);
                found.extend(messages.map(|&messages| Evidence::NotReceived { pid, messages }));
                let bytes = self.unread.get(&link);
                found.extend(bytes.map(|&bytes| Evidence::Unread { pid, bytes }));
                found.extend(evidence::threads(index, link.process));
            }
        }
        found
    }

    fn requests_behind(&self, link: Endpoint) -> u64 {
        let waits_for_driver = |request: &Request| match request.direction {
            Direction::Outgoing => request.phase != Phase::Responded,
            Direction::Incoming => request.phase == Phase::Responding,
        };
        let behind = self.behind.get_or_init(|| {
            let mut behind = HashMap::new();
            for (row, request) in self.index.requests() {
                if waits_for_driver(request) {
                    let link = self.index.link(self.index.endpoint(row));
                    *behind.entry(link).or_default() += 1;
                }
            }
            behind
        });
        behind.get(&link).copied().unwrap_or(0)
    }
}
