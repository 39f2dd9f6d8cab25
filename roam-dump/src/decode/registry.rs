//! Decodes the records of a registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use roam_trace_common::Serial;
use roam_trace_common::event::ConnectionState;
use roam_trace_common::limits::ARGUMENTS_CHARS;
use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, FLAG_OBSERVES_WRITES, FLAG_READER_GONE, FLAG_WRITER_GONE,
    PhaseWord, RequestRecord, ResponseWord, Table,
};

use super::names::Names;
use super::printable::{printable, printable_within};
use super::row::{ChannelFields, ConnectionFields, RequestFields, RowBuilder, request_ids};
use super::statistics::methods;
use crate::model::{
    Channel, Connection, Delivering, Driver, Gap, Process, Request, Snapshot, Source, TableUse,
    Traffic,
};
use crate::read::{Image, Truncated};

/// Makes the snapshot of a process from its registry, as of `now_ns` on the clock of the registry. If that clock is
/// of another time namespace than the reader's, the reader must shift `taken_ns`.
///
/// Rows with unknown codes are left out and counted.
///
/// Takes the requests, their arguments and the channels out of the image: there may be too many to hold them
/// twice.
pub fn from_registry(process: Process, image: &mut Image, now_ns: u64) -> Snapshot {
    let names = Names::of(image);
    let tables = tables(image);
    let records = std::mem::take(&mut image.requests);
    let mut arguments = std::mem::take(&mut image.arguments);
    let channel_records = std::mem::take(&mut image.channels);
    let decoder = RegistryDecoder {
        connections: &image.connections,
        builder: RowBuilder {
            names: &names,
            source: Source::Registry,
            now_ns,
        },
    };
    let mut invalid = image.invalid;
    // There may be a hundred thousand: no room for more than them is taken.
    let mut requests = Vec::with_capacity(records.len());
    drain(records, |record| {
        let text = arguments.remove(&record.serial);
        requests.extend(count_none(&mut invalid, decoder.request(record, text)));
    });
    let request_ids = request_ids(&requests, channel_records.iter().map(|row| row.request));
    let channels = channel_records
        .iter()
        .filter_map(|row| count_none(&mut invalid, decoder.channel(row, &request_ids)))
        .collect();
    let connections = image
        .connections
        .values()
        .filter(|row| row.state != ConnectionState::Grouping.code())
        .filter_map(|row| count_none(&mut invalid, decoder.connection(row)))
        .collect();
    let mut snapshot = Snapshot {
        gaps: gaps(image, invalid),
        requests,
        channels,
        connections,
        methods: methods(&image.statistics, &names, now_ns),
        tables,
        ..Snapshot::new(process, Source::Registry, now_ns)
    };
    snapshot.sort();
    snapshot
}

fn count_none<T>(count: &mut u64, row: Option<T>) -> Option<T> {
    *count += u64::from(row.is_none());
    row
}

/// Gives out rows one by one, and their memory with them.
fn drain<R>(mut rows: Vec<R>, mut take: impl FnMut(&R)) {
    const PARTS: usize = 8;
    let part = rows.len().div_ceil(PARTS).max(1);
    while let Some(row) = rows.pop() {
        take(&row);
        if rows.len().is_multiple_of(part) {
            rows.shrink_to_fit();
        }
    }
}

impl Truncated {
    /// Returns what was left out, as gaps.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        [
            ("younger requests", self.requests),
            ("younger channels", self.channels),
            ("connections", self.connections),
            ("names", self.names),
            ("arguments", self.arguments),
            ("statistics", self.statistics),
            ("slots", self.slots),
        ]
        .into_iter()
        .filter(|&(_, count)| count > 0)
        .map(|(what, count)| Gap::Truncated { what, count })
    }
}

fn gaps(image: &Image, invalid: u64) -> Vec<Gap> {
    let tables = [
        (Table::Requests, "requests"),
        (Table::Channels, "channels"),
        (Table::Connections, "connections"),
        (Table::Methods, "method names"),
        (Table::Types, "type names"),
        (Table::Statistics, "statistics"),
    ];
    let mut gaps: Vec<_> = tables
        .into_iter()
        .map(|(table, name)| (name, image.lost(table)))
        .filter(|&(_, count)| count > 0)
        .map(|(table, count)| Gap::TableFull { table, count })
        .collect();
    if image.is_probes_only() {
        gaps.push(Gap::ProbesOnly { attached: false });
    }
    gaps.extend(image.truncated.gaps());
    if image.torn > 0 {
        gaps.push(Gap::Torn { count: image.torn });
    }
    if invalid > 0 {
        gaps.push(Gap::Invalid { count: invalid });
    }
    gaps
}

/// The tables that rows come and go in.
fn tables(image: &Image) -> Vec<TableUse> {
    let truncated = &image.truncated;
    let requests = image.requests.len() as u64 + truncated.requests;
    let channels = image.channels.len() as u64 + truncated.channels;
    let connections = image.connections.len() as u64 + truncated.connections;
    [
        (Table::Requests, "requests", requests),
        (Table::Channels, "channels", channels),
        (Table::Connections, "connections", connections),
    ]
    .into_iter()
    .filter(|&(table, ..)| table != Table::Requests || !image.is_probes_only())
    .map(|(table, name, used)| {
        let record = image.header.tables[table as usize];
        TableUse {
            table: name,
            used,
            high_water: record.high_water,
            capacity: record.capacity,
        }
    })
    .collect()
}

fn last_error(row: &ConnectionRecord) -> Option<Arc<str>> {
    let bytes = row.error.len().min(row.error_bytes as usize);
    (bytes > 0).then(|| printable(&row.error[..bytes]).into())
}

struct RegistryDecoder<'a> {
    connections: &'a BTreeMap<u64, ConnectionRecord>,
    builder: RowBuilder<'a>,
}

impl RegistryDecoder<'_> {
    fn request(&self, row: &RequestRecord, arguments: Option<Vec<u8>>) -> Option<Request> {
        let phase = PhaseWord(row.phase);
        let response = ResponseWord(row.response);
        let generation = Serial(row.serial).generation();
        let connection = self.connections.get(&row.connection);
        let request = self.builder.request(&RequestFields {
            serial: row.serial,
            connection: row.connection,
            request_id: row.request_id,
            method_id: row.method_id,
            direction: row.direction,
            kind: row.kind,
            phase: phase.phase(),
            mark: phase.mark(),
            started_ns: row.started_ns,
            phase_ns: row
                .started_ns
                .saturating_add(phase.elapsed_us().saturating_mul(1_000)),
            request_bytes: row.request_bytes,
        })?;
        Some(Request {
            parent: (row.parent != 0).then_some(row.parent),
            arguments: arguments.map(|text| printable_within(&text, ARGUMENTS_CHARS).into()),
            writes_observable: connection.is_some_and(|row| row.flags & FLAG_OBSERVES_WRITES != 0),
            response_bytes: (phase.outcome() != 0 && response.is_of(generation))
                .then(|| response.bytes()),
            ..request
        })
    }

    fn channel(&self, row: &ChannelRecord, request_ids: &HashMap<u64, u64>) -> Option<Channel> {
        let fields = ChannelFields {
            serial: row.serial,
            connection: row.connection,
            request: row.request,
            channel_id: row.channel_id,
            direction: row.direction,
            side: row.side,
            type_index: row.type_index,
            opened_ns: row.opened_ns,
            last_activity_ns: row.last_activity_ns,
            bytes_sent: row.bytes_sent,
            items_sent: row.items_sent,
            bytes_received: row.bytes_received,
            items_received: row.items_received,
            receive_budget_bytes: row.receive_budget_bytes,
        };
        Some(Channel {
            items_read: Some(row.items_read),
            reader_gone: row.flags & FLAG_READER_GONE != 0,
            writer_gone: row.flags & FLAG_WRITER_GONE != 0,
            ..self.builder.channel(&fields, request_ids)?
        })
    }

    fn connection(&self, row: &ConnectionRecord) -> Option<Connection> {
        let builder = &self.builder;
        let connection = builder.connection(&ConnectionFields {
            serial: row.serial,
            link: row.link,
            conn_id: row.conn_id,
            role: row.role,
            opened_ns: row.opened_ns,
        })?;
        Some(Connection {
            state: ConnectionState::from_code(row.state)?,
            state_age_us: builder.since_us(row.state_ns),
            attempts: row.attempts,
            last_error: last_error(row),
            losses: row.losses,
            sent: Some(Traffic {
                messages: row.messages_sent,
                payload_bytes: row.bytes_sent,
                idle_us: builder.since_some_us(row.last_sent_ns),
            }),
            received: Some(Traffic {
                messages: row.messages_received,
                payload_bytes: row.bytes_received,
                idle_us: builder.since_some_us(row.last_received_ns),
            }),
            delivering: builder
                .since_some_us(row.delivering_since_ns)
                .map(|waiting_us| Delivering {
                    channel_id: row.delivering_channel,
                    waiting_us,
                }),
            driver: builder
                .since_some_us(row.polled_ns)
                .map(|polled_age_us| Driver {
                    polled_age_us,
                    writing_us: builder.since_some_us(row.writing_since_ns),
                    enqueued: row.enqueued,
                    dequeued: row.dequeued,
                }),
            ..connection
        })
    }
}
