//! What the maps are seeded with.

use roam_dump::read::Image;
use roam_trace_common::Serial;
use roam_trace_common::event::{
    ChannelValue, ConnectionState, ConnectionValue, RecordKey, RequestValue,
};
use roam_trace_common::registry::{PhaseWord, ResponseWord};

use crate::process::clock::Clock;

/// What registries have in flight, as rows of the kernel maps.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Requests.
    pub requests: Vec<(RecordKey, RequestValue)>,
    /// Channels.
    pub channels: Vec<(RecordKey, ChannelValue)>,
    /// Connections.
    pub connections: Vec<(RecordKey, ConnectionValue)>,
}

impl Rows {
    /// What the registries of a process have in flight.
    pub fn of_registries(pid: u32, images: &[Image], clock: &Clock) -> Self {
        let key = |serial| RecordKey {
            serial,
            tgid: pid,
            reserved: 0,
        };
        let mut rows = Self::default();
        for image in images {
            rows.requests.extend(image.requests.iter().map(|row| {
                let phase = PhaseWord(row.phase);
                let response = ResponseWord(row.response);
                let is_response =
                    phase.outcome() != 0 && response.is_of(Serial(row.serial).generation());
                let started_ns = clock.initial_ns(row.started_ns);
                let value = RequestValue {
                    connection: row.connection,
                    request_id: row.request_id,
                    method_id: row.method_id,
                    started_ns,
                    phase_ns: started_ns.saturating_add(phase.elapsed_us() * 1_000),
                    request_bytes: row.request_bytes,
                    response_bytes: if is_response { response.bytes() } else { 0 },
                    parent: row.parent,
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

    /// Adds rows of those processes that are wanted.
    pub fn extend(&mut self, rows: Self, is_wanted: impl Fn(u32) -> bool) {
        let Self {
            requests,
            channels,
            connections,
        } = rows;
        self.requests
            .extend(requests.into_iter().filter(|(key, _)| is_wanted(key.tgid)));
        self.channels
            .extend(channels.into_iter().filter(|(key, _)| is_wanted(key.tgid)));
        self.connections.extend(
            connections
                .into_iter()
                .filter(|(key, _)| is_wanted(key.tgid)),
        );
    }
}
