//! Requests in flight.

use std::borrow::Cow;
use std::sync::Arc;

use roam_trace_common::event::{Direction, Mark, Phase, RequestKind};
use serde::Serialize;

#[cfg(feature = "schema")]
use super::id::Id;
use super::id::{id, optional_id};
use super::source::Source;
use super::verdict::{Verdict, index};

/// A request in flight.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Serial of the row; a process never reuses it.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub serial: u64,
    /// Where the row comes from; left out in JSON: the registry.
    #[serde(skip_serializing_if = "Source::is_registry")]
    pub source: Source,
    /// Its direction.
    pub direction: Direction,
    /// Whether it is a call or the opening of a virtual connection; left out in JSON: a call.
    #[serde(skip_serializing_if = "is_call")]
    pub kind: RequestKind,
    /// Serial of its connection, 0 if unknown.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub connection: u64,
    /// Name of its connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_name: Option<Arc<str>>,
    /// Serial of the incoming request whose handler made this call, if known.
    #[serde(serialize_with = "optional_id")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Id>"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// Id on the wire.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub request_id: u64,
    /// Method id on the wire.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub method_id: u64,
    /// `Service.method`, if the process registered the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Arc<str>>,
    /// Arguments, if the process records them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Box<str>>,
    /// Its phase.
    pub phase: Phase,
    /// Whether its driver reports writes; left out in JSON: it does.
    #[serde(skip_serializing_if = "is_true")]
    pub writes_observable: bool,
    /// Why the row stays although the request can no longer end as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// Microseconds since it started.
    pub age_us: u64,
    /// Microseconds since it reached `phase`.
    pub phase_age_us: u64,
    /// Payload bytes of the request.
    pub request_bytes: u64,
    /// Payload bytes of the response, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// Why it is stuck, if it is.
    #[serde(serialize_with = "index")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Arc<Verdict>>,
}

fn is_call(kind: &RequestKind) -> bool {
    *kind == RequestKind::Call
}

fn is_true(flag: &bool) -> bool {
    *flag
}

impl Request {
    /// Returns the name of the method, or its id in hex.
    pub fn method_name(&self) -> Cow<'_, str> {
        match (self.kind, &self.method) {
            (RequestKind::Connect, _) => "(connect)".into(),
            (RequestKind::Call, Some(method)) => Cow::Borrowed(method),
            (RequestKind::Call, None) => format!("method_id={:#018x}", self.method_id).into(),
        }
    }
}
