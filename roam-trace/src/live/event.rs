//! An event as it is printed.

use std::sync::Arc;

use jiff::Timestamp;
use roam_dump::model::Process;
use roam_dump::model::id::{Id, optional_id};
use roam_trace_common::event::{
    ChannelDirection, Direction, EventKind, EventRecord, Outcome, Phase, RequestKind,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::clock::WallClock;
use super::names::Names;

/// A line of `roam-trace watch --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Line<'a> {
    /// Something happened to a request or a channel.
    Event(&'a Event),
    /// Something happened and was lost.
    Lost(Lost),
}

/// An event. Of a request whose start was not seen, direction, connection, method and latency are missing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Event {
    /// When it happened.
    pub(crate) time: Timestamp,
    /// What happened.
    pub(crate) event: EventKind,
    /// In which process.
    pub(crate) process: Arc<Process>,
    /// The direction of the request; of a channel event, as long as its request is in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) direction: Option<Direction>,
    /// What kind of request it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<RequestKind>,
    /// Serial of the request; of a channel event, that of the request that opened the channel.
    #[serde(
        serialize_with = "optional_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Id>")]
    pub(crate) request: Option<u64>,
    /// The request's id on the wire.
    #[serde(
        serialize_with = "optional_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Id>")]
    pub(crate) request_id: Option<u64>,
    /// Serial of the channel.
    #[serde(
        serialize_with = "optional_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Id>")]
    pub(crate) channel: Option<u64>,
    /// The channel's id on the wire.
    #[serde(
        serialize_with = "optional_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Id>")]
    pub(crate) channel_id: Option<u64>,
    /// The direction of the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel_direction: Option<ChannelDirection>,
    /// Serial of the connection.
    #[serde(
        serialize_with = "optional_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Id>")]
    pub(crate) connection: Option<u64>,
    /// Name of the connection, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection_name: Option<Arc<str>>,
    /// The method's id on the wire.
    #[serde(
        serialize_with = "optional_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Id>")]
    pub(crate) method_id: Option<u64>,
    /// `Service.method`, if the process registered the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<Arc<str>>,
    /// Of a start or a phase: what the request reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<Phase>,
    /// Of an end: how the request ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
    /// Of an end: nanoseconds from the start to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ns: Option<u64>,
    /// Payload bytes of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_bytes: Option<u64>,
    /// Payload bytes of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_bytes: Option<u64>,
    /// Payload bytes that moved over the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// Events that were lost, since the ring buffer was full, between the line before and the line after.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) struct Lost {
    /// When that was noticed.
    pub(crate) time: Timestamp,
    pub(crate) event: LostEvent,
    /// The CPU that they happened on.
    pub(crate) cpu: u32,
    /// How many they are. What filters leave out is not among them, unless its method is new or has no name.
    pub(crate) count: u64,
}

/// What marks a line about lost events.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LostEvent {
    Lost,
}

impl Event {
    /// Decodes a record. `None` if this version does not know its kind, or the process is none of those that are
    /// watched.
    pub(crate) fn decode(
        record: &EventRecord,
        names: &mut Names<'_>,
        clock: &WallClock,
    ) -> Option<Self> {
        let event = EventKind::from_code(record.kind)?;
        let process = Arc::clone(names.process(record.tgid)?);
        let direction = Direction::from_code(record.direction);
        let nothing = Self {
            time: clock.at(record.time_ns),
            event,
            process,
            direction,
            kind: None,
            request: (record.request != 0).then_some(record.request),
            request_id: None,
            channel: None,
            channel_id: None,
            channel_direction: None,
            connection: None,
            connection_name: None,
            method_id: None,
            method: None,
            phase: None,
            outcome: None,
            latency_ns: None,
            request_bytes: None,
            response_bytes: None,
            bytes: None,
        };
        let with_method = match direction {
            None => nothing,
            Some(_) => Self {
                method_id: Some(record.method_id),
                method: names.method(record.tgid, record.method_id),
                ..nothing
            },
        };
        Some(match event {
            EventKind::RequestStart | EventKind::RequestPhase => Self {
                phase: Phase::from_code(record.code),
                ..with_method.of_request(record, names)
            },
            EventKind::RequestEnd => Self {
                outcome: Outcome::from_code(record.code),
                latency_ns: direction.map(|_| record.time_ns.saturating_sub(record.started_ns)),
                response_bytes: Some(record.response_bytes),
                ..with_method.of_request(record, names)
            },
            EventKind::ChannelOpen | EventKind::ChannelData | EventKind::ChannelClose => Self {
                channel: Some(record.channel),
                channel_id: Some(record.wire_id),
                channel_direction: ChannelDirection::from_code(record.code),
                bytes: (event == EventKind::ChannelData).then_some(record.request_bytes),
                ..with_method.on_connection(record, names)
            },
        })
    }

    /// Adds what is known of a request whose start was seen.
    fn of_request(self, record: &EventRecord, names: &mut Names<'_>) -> Self {
        if self.direction.is_none() {
            return self;
        }
        Self {
            kind: RequestKind::from_code(record.request_kind),
            request_id: Some(record.wire_id),
            request_bytes: Some(record.request_bytes),
            ..self.on_connection(record, names)
        }
    }

    fn on_connection(self, record: &EventRecord, names: &mut Names<'_>) -> Self {
        let serial = (record.connection != 0).then_some(record.connection);
        let name = serial.and_then(|serial| names.connection(record.tgid, serial));
        Self {
            connection: serial,
            connection_name: name.filter(|name| !name.is_empty()),
            ..self
        }
    }
}
