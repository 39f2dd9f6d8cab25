//! Builds the rows of the model out of what a registry's record and a kernel map's value have in common.

use std::collections::HashMap;

use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Mark, Phase, RequestKind, Role,
};

use super::names::Names;
use crate::model::{Channel, Connection, Request, Source};

/// Turns codes, times and names into what a row shows. Each function returns `None` for a code that this
/// version does not know.
pub(super) struct RowBuilder<'a> {
    pub(super) names: &'a Names,
    /// Where the rows come from.
    pub(super) source: Source,
    /// The moment that ages count back from, on the clock of the records.
    pub(super) now_ns: u64,
}

/// A request, as both sources have it.
pub(super) struct RequestFields {
    pub(super) serial: u64,
    pub(super) connection: u64,
    pub(super) request_id: u64,
    pub(super) method_id: u64,
    pub(super) direction: u32,
    pub(super) kind: u32,
    pub(super) phase: u32,
    pub(super) mark: u32,
    pub(super) started_ns: u64,
    pub(super) phase_ns: u64,
    pub(super) request_bytes: u64,
}

/// A channel, as both sources have it.
pub(super) struct ChannelFields {
    pub(super) serial: u64,
    pub(super) connection: u64,
    pub(super) request: u64,
    pub(super) channel_id: u64,
    pub(super) direction: u32,
    pub(super) side: u32,
    pub(super) type_index: u32,
    pub(super) opened_ns: u64,
    pub(super) last_activity_ns: u64,
    pub(super) bytes_sent: u64,
    pub(super) items_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) items_received: u64,
    pub(super) receive_budget_bytes: u64,
}

/// A connection, as both sources have it.
pub(super) struct ConnectionFields {
    pub(super) serial: u64,
    pub(super) link: u64,
    pub(super) conn_id: u64,
    pub(super) role: u32,
    pub(super) opened_ns: u64,
}

impl RowBuilder<'_> {
    pub(super) fn since_us(&self, time_ns: u64) -> u64 {
        self.now_ns.saturating_sub(time_ns) / 1_000
    }

    /// As [`since_us`](Self::since_us), for times where 0 means never.
    pub(super) fn since_some_us(&self, time_ns: u64) -> Option<u64> {
        (time_ns != 0).then(|| self.since_us(time_ns))
    }

    /// The row, without what only one of the sources knows: parent, arguments, whether writes are observable, and
    /// the response.
    pub(super) fn request(&self, fields: &RequestFields) -> Option<Request> {
        Some(Request {
            serial: fields.serial,
            source: self.source,
            direction: Direction::from_code(fields.direction)?,
            kind: RequestKind::from_code(fields.kind)?,
            connection: fields.connection,
            connection_name: self.names.connections.get(&fields.connection).cloned(),
            parent: None,
            request_id: fields.request_id,
            method_id: fields.method_id,
            method: self.names.methods.get(&fields.method_id).cloned(),
            arguments: None,
            phase: Phase::from_code(fields.phase)?,
            writes_observable: false,
            mark: match fields.mark {
                0 => None,
                code => Some(Mark::from_code(code)?),
            },
            age_us: self.since_us(fields.started_ns),
            phase_age_us: self.since_us(fields.phase_ns),
            request_bytes: fields.request_bytes,
            response_bytes: None,
            verdict: None,
        })
    }

    /// The row, without what only a registry knows: what the program has read, and which end is gone.
    pub(super) fn channel(
        &self,
        fields: &ChannelFields,
        request_ids: &HashMap<u64, u64>,
    ) -> Option<Channel> {
        Some(Channel {
            serial: fields.serial,
            source: self.source,
            connection: fields.connection,
            connection_name: self.names.connections.get(&fields.connection).cloned(),
            channel_id: fields.channel_id,
            request: (fields.request != 0).then_some(fields.request),
            request_id: request_ids.get(&fields.request).copied(),
            direction: ChannelDirection::from_code(fields.direction)?,
            side: ChannelSide::from_code(fields.side)?,
            element_type: self.names.element_type(fields.type_index),
            age_us: self.since_us(fields.opened_ns),
            idle_us: self.since_some_us(fields.last_activity_ns),
            bytes_sent: fields.bytes_sent,
            items_sent: fields.items_sent,
            bytes_received: fields.bytes_received,
            items_received: fields.items_received,
            items_read: None,
            receive_budget_bytes: (fields.receive_budget_bytes != u64::MAX)
                .then_some(fields.receive_budget_bytes),
            reader_gone: false,
            writer_gone: false,
            verdict: None,
        })
    }

    /// The row of a connection that is open, without its counters and its driver, which only a registry knows.
    pub(super) fn connection(&self, fields: &ConnectionFields) -> Option<Connection> {
        let age_us = self.since_us(fields.opened_ns);
        Some(Connection {
            serial: fields.serial,
            source: self.source,
            link: fields.link,
            conn_id: fields.conn_id,
            name: self
                .names
                .connections
                .get(&fields.serial)
                .cloned()
                .unwrap_or_else(|| format!("connection {}", fields.serial).into()),
            role: Role::from_code(fields.role)?,
            state: ConnectionState::Open,
            state_age_us: age_us,
            attempts: 0,
            last_error: None,
            losses: 0,
            age_us,
            sent: None,
            received: None,
            delivering: None,
            driver: None,
            socket: None,
            socket_unknown: None,
            peer: None,
            possible_peers: Vec::new(),
            verdict: None,
        })
    }
}

/// Ids on the wire of the requests that channels belong to, by serial.
pub(super) fn request_ids(
    requests: &[Request],
    owners: impl Iterator<Item = u64>,
) -> HashMap<u64, u64> {
    let owners: std::collections::HashSet<u64> = owners.collect();
    requests
        .iter()
        .filter(|request| owners.contains(&request.serial))
        .map(|request| (request.serial, request.request_id))
        .collect()
}
