//! Puts together what several sources say about one process.
//!
//! Works on records, map values and rows; reads nothing and prints nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use roam_dump::analysis::{Counters, Moved};
use roam_dump::decode::{Names, from_registry};
use roam_dump::model::{
    Channel, Connection, ConnectionWindow, Gap, Process, Request, Snapshot, Source, Window,
};
use roam_dump::read::{Budget, Image, Truncated};
use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ChannelValue, ConnectionState, ConnectionValue, Direction, Loss,
    Mark, Phase, RecordKey, RequestKind, RequestValue, Role, TrafficValue,
};
use roam_trace_common::registry::{
    ConnectionRecord, FLAG_OBSERVES_WRITES, PhaseWord, ResponseWord,
};

use crate::attach::Rows;
use crate::kernel::{Losses, Maps};
use crate::process::clock::Clock;

/// Bits by which the serials of a process's second registry are moved, and so on. A serial of the first
/// one stays what the process itself prints.
const REGISTRY_SHIFT: u32 = 56;
const SERIAL_MASK: u64 = (1 << REGISTRY_SHIFT) - 1;

/// The snapshot of a process by its registries, all read at `now_ns` of the process's own clock; `None` where
/// it has none.
///
/// Several registries in one process number their rows alike: to keep rows apart, the serials of all but
/// the first get the registry's index in their highest byte.
///
/// Takes the rows of requests and channels out of the images.
pub fn registries(
    process: &Process,
    images: &mut [Image],
    now_ns: u64,
    clock: &Clock,
) -> Option<Snapshot> {
    let several = images.len() > 1;
    let mut snapshots = images
        .iter_mut()
        .map(|image| from_registry(process.clone(), image, now_ns));
    let mut joined = snapshots.next()?;
    joined.taken_ns = clock.own_ns(clock.initial_ns(now_ns));
    for (index, mut snapshot) in snapshots.enumerate() {
        renumber(&mut snapshot, index as u64 + 1);
        for gap in snapshot.gaps {
            gap.join(&mut joined.gaps);
        }
        joined.requests.append(&mut snapshot.requests);
        joined.channels.append(&mut snapshot.channels);
        joined.connections.append(&mut snapshot.connections);
    }
    if several {
        joined.sort();
    }
    Some(joined)
}

/// Adds what the connections of a process's registries have counted.
pub fn count(pid: u32, registries: &[BTreeMap<u64, ConnectionRecord>], counters: &mut Counters) {
    for (registry, connections) in (0..).zip(registries) {
        for row in connections.values() {
            let moved = Moved([
                row.messages_sent,
                row.bytes_sent,
                row.messages_received,
                row.bytes_received,
            ]);
            counters
                .0
                .insert((pid, serial_of(registry, row.serial)), moved);
        }
    }
}

/// The serial that a row of a process's registry of that index has in its snapshot.
fn serial_of(registry: u64, serial: u64) -> u64 {
    match registry {
        0 => serial,
        _ => (serial & SERIAL_MASK) | registry << REGISTRY_SHIFT,
    }
}

fn renumber(snapshot: &mut Snapshot, registry: u64) {
    let renumber = |serial: &mut u64| {
        if *serial != 0 {
            *serial = serial_of(registry, *serial);
        }
    };
    for row in &mut snapshot.requests {
        renumber(&mut row.serial);
        renumber(&mut row.connection);
        row.parent.iter_mut().for_each(renumber);
    }
    for row in &mut snapshot.channels {
        renumber(&mut row.serial);
        renumber(&mut row.connection);
        row.request.iter_mut().for_each(renumber);
    }
    for row in &mut snapshot.connections {
        renumber(&mut row.serial);
        renumber(&mut row.link);
    }
}

/// What registries have in flight, as rows of the kernel maps.
pub fn seeds(pid: u32, images: &[Image], clock: &Clock) -> Rows {
    let key = |serial| RecordKey {
        serial,
        tgid: pid,
        reserved: 0,
    };
    let mut rows = Rows::default();
    for image in images {
        rows.requests.extend(image.requests.iter().map(|row| {
            let phase = PhaseWord(row.phase);
            let started_ns = clock.initial_ns(row.started_ns);
            let value = RequestValue {
                connection: row.connection,
                request_id: row.request_id,
                method_id: row.method_id,
                started_ns,
                phase_ns: started_ns.saturating_add(phase.elapsed_us() * 1_000),
                request_bytes: row.request_bytes,
                response_bytes: ResponseWord(row.response).bytes(),
                direction: row.direction,
                phase: phase.phase(),
                kind: row.kind,
                mark: phase.mark(),
                ..RequestValue::default()
            };
            (key(row.serial), value)
        }));
        rows.channels.extend(image.channels.iter().map(|row| {
            let value = ChannelValue {
                connection: row.connection,
                channel_id: row.channel_id,
                request: row.request,
                opened_ns: clock.initial_ns(row.opened_ns),
                last_activity_ns: match row.last_activity_ns {
                    0 => 0,
                    time_ns => clock.initial_ns(time_ns),
                },
                bytes_sent: row.bytes_sent,
                items_sent: row.items_sent,
                bytes_received: row.bytes_received,
                items_received: row.items_received,
                receive_budget_bytes: row.receive_budget_bytes,
                direction: row.direction,
                side: row.side,
                type_index: row.type_index,
                ..ChannelValue::default()
            };
            (key(row.serial), value)
        }));
        let open = |state| {
            state != ConnectionState::Grouping.code() && state != ConnectionState::Closed.code()
        };
        let connections = image.connections.values().filter(|row| open(row.state));
        rows.connections.extend(connections.map(|row| {
            let value = ConnectionValue {
                link: row.link,
                conn_id: row.conn_id,
                opened_ns: clock.initial_ns(row.opened_ns),
                role: row.role,
                ..ConnectionValue::default()
            };
            (key(row.serial), value)
        }));
    }
    rows
}

/// The snapshot of a process by the kernel maps alone, as of now.
///
/// `images` lend their names, nothing else. Unless the maps were seeded with everything that began before,
/// ends of what they do not know are no loss. There is room for as many rows as `room` has of each kind.
pub fn probes(
    process: &Process,
    maps: &Maps,
    is_seeded: bool,
    images: &[Image],
    clock: &Clock,
    room: &Budget,
) -> Snapshot {
    let pid = process.pid;
    let now_ns = clock.initial_now_ns();
    let decoder = Decoder::new(maps, images, now_ns);
    let mut refused = 0;
    let (requests, requests_left_out) = decode(
        pid,
        &maps.requests,
        room.rows,
        |value| value.started_ns,
        &mut refused,
        |serial, value| decoder.request(serial, value),
    );
    let owners: HashSet<u64> = maps.channels.iter().map(|(_, row)| row.request).collect();
    let request_ids: HashMap<u64, u64> = requests
        .iter()
        .filter(|request| owners.contains(&request.serial))
        .map(|request| (request.serial, request.request_id))
        .collect();
    let (channels, channels_left_out) = decode(
        pid,
        &maps.channels,
        room.channels,
        |value| value.opened_ns,
        &mut refused,
        |serial, value| decoder.channel(serial, value, &request_ids),
    );
    let (connections, connections_left_out) = decode(
        pid,
        &maps.connections,
        room.connections,
        |value| value.opened_ns,
        &mut refused,
        |serial, value| decoder.connection(serial, value),
    );
    let mut gaps = losses(&maps.losses, is_seeded);
    let truncated = Truncated {
        requests: requests_left_out,
        channels: channels_left_out,
        connections: connections_left_out,
        ..Truncated::default()
    };
    gaps.extend(truncated.gaps());
    if refused > 0 {
        gaps.push(Gap::Invalid { count: refused });
    }
    let mut snapshot = Snapshot {
        process: process.clone(),
        source: Source::Probes,
        taken_ns: clock.own_ns(now_ns),
        gaps,
        requests,
        channels,
        connections,
        window: None,
    };
    snapshot.sort();
    snapshot
}

/// The rows of one process, the oldest of them, and how many more there are.
fn decode<V, R>(
    pid: u32,
    rows: &[(RecordKey, V)],
    room: usize,
    began_ns: fn(&V) -> u64,
    refused: &mut u64,
    mut decode: impl FnMut(u64, &V) -> Option<R>,
) -> (Vec<R>, u64) {
    let mut own: Vec<_> = rows.iter().filter(|(key, _)| key.tgid == pid).collect();
    let truncated = own.len().saturating_sub(room);
    if truncated > 0 {
        own.select_nth_unstable_by_key(room, |(_, value)| began_ns(value));
        own.truncate(room);
    }
    let rows = own.into_iter().filter_map(|(key, value)| {
        let row = decode(key.serial, value);
        *refused += u64::from(row.is_none());
        row
    });
    (rows.collect(), truncated as u64)
}

/// The names of all registries of a process. Where they number alike, the first one names.
fn names(images: &[Image]) -> Names {
    let mut names = Names::default();
    for image in images.iter().rev() {
        let of_image = Names::of(image);
        names.methods.extend(of_image.methods);
        names.connections.extend(of_image.connections);
        names.types = of_image.types;
    }
    names
}

struct Decoder {
    names: Names,
    /// Connections of which it is known that their driver tells when a request is written.
    observing: HashSet<u64>,
    now_ns: u64,
}

impl Decoder {
    fn new(maps: &Maps, images: &[Image], now_ns: u64) -> Self {
        let mut observing = HashSet::new();
        for image in images {
            let rows = image.connections.values();
            let rows = rows.filter(|row| row.flags & FLAG_OBSERVES_WRITES != 0);
            observing.extend(rows.map(|row| row.serial));
        }
        // Whoever reported one request as written does so for all.
        let written = maps.requests.iter().filter(|(_, row)| {
            row.direction == Direction::Outgoing.code() && row.phase >= Phase::Sent.code()
        });
        observing.extend(written.map(|(_, row)| row.connection));
        Self {
            names: names(images),
            observing,
            now_ns,
        }
    }

    fn since_us(&self, time_ns: u64) -> u64 {
        self.now_ns.saturating_sub(time_ns) / 1_000
    }

    fn request(&self, serial: u64, value: &RequestValue) -> Option<Request> {
        let phase = Phase::from_code(value.phase)?;
        let is_answered = matches!(phase, Phase::Responded | Phase::Responding);
        Some(Request {
            serial,
            source: Source::Probes,
            direction: Direction::from_code(value.direction)?,
            kind: RequestKind::from_code(value.kind)?,
            connection: value.connection,
            connection_name: self.names.connections.get(&value.connection).cloned(),
            parent: None,
            request_id: value.request_id,
            method_id: value.method_id,
            method: self.names.methods.get(&value.method_id).cloned(),
            arguments: None,
            phase,
            writes_observable: self.observing.contains(&value.connection),
            mark: match value.mark {
                0 => None,
                code => Some(Mark::from_code(code)?),
            },
            age_us: self.since_us(value.started_ns),
            phase_age_us: self.since_us(value.phase_ns),
            request_bytes: value.request_bytes,
            response_bytes: (is_answered || value.response_bytes > 0)
                .then_some(value.response_bytes),
            verdict: None,
        })
    }

    fn channel(
        &self,
        serial: u64,
        value: &ChannelValue,
        request_ids: &HashMap<u64, u64>,
    ) -> Option<Channel> {
        Some(Channel {
            serial,
            source: Source::Probes,
            connection: value.connection,
            connection_name: self.names.connections.get(&value.connection).cloned(),
            channel_id: value.channel_id,
            request: (value.request != 0).then_some(value.request),
            request_id: request_ids.get(&value.request).copied(),
            direction: ChannelDirection::from_code(value.direction)?,
            side: ChannelSide::from_code(value.side)?,
            element_type: self.names.element_type(value.type_index),
            age_us: self.since_us(value.opened_ns),
            idle_us: (value.last_activity_ns != 0).then(|| self.since_us(value.last_activity_ns)),
            bytes_sent: value.bytes_sent,
            items_sent: value.items_sent,
            bytes_received: value.bytes_received,
            items_received: value.items_received,
            items_read: None,
            receive_budget_bytes: (value.receive_budget_bytes != u64::MAX)
                .then_some(value.receive_budget_bytes),
            reader_gone: false,
            writer_gone: false,
            verdict: None,
        })
    }

    fn connection(&self, serial: u64, value: &ConnectionValue) -> Option<Connection> {
        let age_us = self.since_us(value.opened_ns);
        let name = self.names.connections.get(&serial).cloned();
        Some(Connection {
            serial,
            source: Source::Probes,
            link: value.link,
            conn_id: value.conn_id,
            name: name.unwrap_or_else(|| format!("connection {serial}").into()),
            role: Role::from_code(value.role)?,
            state: ConnectionState::Open,
            state_age_us: age_us,
            attempts: 0,
            age_us,
            sent: None,
            received: None,
            delivering: None,
            driver: None,
            verdict: None,
        })
    }
}

/// What the kernel side could not keep, over all processes that were watched.
fn losses(losses: &Losses, is_seeded: bool) -> Vec<Gap> {
    let is_unmatched = |loss| {
        use Loss::{ChannelUnmatched, ConnectionUnmatched, RequestUnmatched};
        matches!(
            loss,
            RequestUnmatched | ChannelUnmatched | ConnectionUnmatched
        )
    };
    losses
        .iter()
        .filter(|&(loss, _)| is_seeded || !is_unmatched(loss))
        .map(|(loss, count)| {
            let what = match loss {
                Loss::RequestInsert => "requests that the kernel map had no room for",
                Loss::ChannelInsert => "channels that the kernel map had no room for",
                Loss::ConnectionInsert => "connections that the kernel map had no room for",
                Loss::TrafficInsert => "requests missing from the counts of the window",
                Loss::RequestUnmatched => "requests ended that the kernel map did not know",
                Loss::ChannelUnmatched => "channels closed that the kernel map did not know",
                Loss::ConnectionUnmatched => "connections closed that the kernel map did not know",
                Loss::RequestDelete => "ended requests left in the kernel map",
                Loss::ChannelDelete => "closed channels left in the kernel map",
                Loss::ConnectionDelete => "closed connections left in the kernel map",
            };
            Gap::Other {
                text: format!("probes: {count} {what}"),
            }
        })
        .collect()
}

/// Marks the rows of a registry that the probes confirm.
///
/// `seen` was taken before the registry was read: what only the probes know has ended in between, or is counted
/// as left out, unless the registry has rows that could not be read.
pub fn confirm(snapshot: &mut Snapshot, seen: Snapshot) {
    let is_whole = !snapshot
        .gaps
        .iter()
        .any(|gap| matches!(gap, Gap::Torn { .. } | Gap::Invalid { .. }));
    snapshot.source = Source::Both;
    let gaps = seen.gaps.into_iter();
    snapshot
        .gaps
        .extend(gaps.filter(|gap| !matches!(gap, Gap::Truncated { .. })));

    // Rows of several registries may have the same serial in the kernel; then the ids tell.
    let requests = unconfirmed(
        &mut snapshot.requests,
        seen.requests,
        |row| (row.serial & SERIAL_MASK, row.request_id, row.method_id),
        |row| row.source = Source::Both,
    );
    let channels = unconfirmed(
        &mut snapshot.channels,
        seen.channels,
        |row| (row.serial & SERIAL_MASK, row.channel_id, 0),
        |row| row.source = Source::Both,
    );
    let connections = unconfirmed(
        &mut snapshot.connections,
        seen.connections,
        |row| (row.serial & SERIAL_MASK, row.conn_id, 0),
        |row| row.source = Source::Both,
    );
    if !is_whole {
        snapshot.requests.extend(requests);
        snapshot.channels.extend(channels);
        snapshot.connections.extend(connections);
        snapshot.sort();
    }
}

/// Confirms the rows that were seen, and returns what was seen besides.
fn unconfirmed<R>(
    rows: &mut [R],
    mut seen: Vec<R>,
    key: impl Fn(&R) -> (u64, u64, u64),
    confirm: impl Fn(&mut R),
) -> Vec<R> {
    let mut is_new = vec![true; seen.len()];
    let places: HashMap<_, usize> = (0..)
        .zip(&seen)
        .map(|(index, row)| (key(row), index))
        .collect();
    for row in rows {
        if let Some(&place) = places.get(&key(row))
            && is_new[place]
        {
            is_new[place] = false;
            confirm(row);
        }
    }
    let mut is_new = is_new.into_iter();
    seen.retain(|_| is_new.next().unwrap_or(true));
    seen
}

/// How many requests started and ended on each connection while a process was watched: those of the
/// snapshot, be it with nothing, and those that only had traffic. `images` lend their names.
pub fn window(snapshot: &Snapshot, maps: &Maps, images: &[Image], duration: Duration) -> Window {
    let pid = snapshot.process.pid;
    let names = names(images);
    let mut traffic: BTreeMap<u64, TrafficValue> = maps
        .traffic
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
        duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
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
    use roam_dump::model::Process;

    use super::*;

    const PID: u32 = 7;

    fn process() -> Process {
        Process {
            pid: PID,
            name: "demo".to_owned(),
        }
    }

    fn key(tgid: u32, serial: u64) -> RecordKey {
        RecordKey {
            serial,
            tgid,
            reserved: 0,
        }
    }

    fn request(request_id: u64, phase: Phase) -> RequestValue {
        RequestValue {
            connection: 3,
            request_id,
            direction: Direction::Outgoing.code(),
            phase: phase.code(),
            kind: RequestKind::Call.code(),
            ..RequestValue::default()
        }
    }

    fn snapshot(maps: &Maps) -> Snapshot {
        probes(
            &process(),
            maps,
            true,
            &[],
            &Clock::default(),
            &Budget::default(),
        )
    }

    fn sources(snapshot: &Snapshot) -> Vec<(u64, Source)> {
        let rows = snapshot.requests.iter();
        let mut sources: Vec<_> = rows.map(|row| (row.serial, row.source)).collect();
        sources.sort_by_key(|&(serial, _)| serial);
        sources
    }

    /// Confirms rows of the first list by those of the second.
    fn check_confirm(
        registry: &[(u64, u64)],
        seen: &[(u64, u64)],
        gap: Option<Gap>,
        expected: &[(u64, Source)],
    ) {
        let of = |rows: &[(u64, u64)]| {
            snapshot(&Maps {
                requests: rows
                    .iter()
                    .map(|&(serial, id)| (key(PID, serial), request(id, Phase::Sent)))
                    .collect(),
                ..Maps::default()
            })
        };
        let mut joined = of(registry);
        for row in &mut joined.requests {
            row.source = Source::Registry;
        }
        joined.gaps.extend(gap);
        confirm(&mut joined, of(seen));
        assert_eq!(sources(&joined), expected);
        assert_eq!(joined.source, Source::Both);
    }

    #[test]
    fn rows_of_both_sources() {
        use Source::{Both, Probes, Registry};
        check_confirm(&[(1, 10)], &[(1, 10)], None, &[(1, Both)]);
        check_confirm(&[(1, 10)], &[], None, &[(1, Registry)]);
        // Ended since.
        check_confirm(&[], &[(1, 10)], None, &[]);
        check_confirm(
            &[],
            &[(1, 10)],
            Some(Gap::Torn { count: 1 }),
            &[(1, Probes)],
        );
        // Another registry's row of the same serial.
        check_confirm(&[(1, 10)], &[(1, 11)], None, &[(1, Registry)]);
        let second = 1 | 1 << REGISTRY_SHIFT;
        check_confirm(
            &[(1, 10), (second, 11)],
            &[(1, 11)],
            None,
            &[(1, Registry), (second, Both)],
        );
    }

    #[test]
    fn rows_of_other_processes_and_unknown_codes() {
        let mut unknown = request(12, Phase::Sent);
        unknown.phase = 99;
        let maps = Maps {
            requests: vec![
                (key(PID, 1), request(10, Phase::Sent)),
                (key(PID + 1, 2), request(11, Phase::Sent)),
                (key(PID, 3), unknown),
            ],
            ..Maps::default()
        };
        let snapshot = snapshot(&maps);
        assert_eq!(sources(&snapshot), [(1, Source::Probes)]);
        assert_eq!(snapshot.gaps, [Gap::Invalid { count: 1 }]);
    }

    /// Whether a call that was handed over is shown as one whose write nobody tells.
    fn check_observable(other: Option<Phase>, expected: bool) {
        let mut requests = vec![(key(PID, 1), request(10, Phase::HandedOver))];
        requests.extend(other.map(|phase| (key(PID, 2), request(11, phase))));
        let maps = Maps {
            requests,
            ..Maps::default()
        };
        let snapshot = snapshot(&maps);
        let row = snapshot.requests.iter().find(|row| row.serial == 1);
        assert_eq!(row.map(|row| row.writes_observable), Some(expected));
    }

    #[test]
    fn drivers_that_tell_of_writes() {
        check_observable(None, false);
        check_observable(Some(Phase::HandedOver), false);
        check_observable(Some(Phase::Sent), true);
    }

    #[test]
    fn windows() {
        let connection = ConnectionValue {
            role: Role::Initiator.code(),
            ..ConnectionValue::default()
        };
        let traffic = |started, ended| TrafficValue { started, ended };
        let maps = Maps {
            connections: vec![(key(PID, 3), connection), (key(PID, 4), connection)],
            traffic: vec![
                (key(PID, 4), traffic(5, 4)),
                (key(PID, 9), traffic(1, 1)),
                (key(PID + 1, 3), traffic(7, 7)),
            ],
            ..Maps::default()
        };
        let window = window(&snapshot(&maps), &maps, &[], Duration::from_millis(5));
        let rows: Vec<_> = window
            .connections
            .iter()
            .map(|row| (row.connection, row.started, row.ended))
            .collect();
        assert_eq!(window.duration_us, 5_000);
        assert_eq!(rows, [(3, 0, 0), (4, 5, 4), (9, 1, 1)]);
    }
}
