//! What is usual: the calls of a method that have ended.

use std::sync::Arc;

use roam_trace_common::event::Direction;
use serde::Serialize;

#[cfg(feature = "schema")]
use super::id::Id;
use super::id::id;

/// The calls of one method in one direction that have ended since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MethodStatistics {
    /// Method id on the wire.
    #[serde(serialize_with = "id")]
    #[cfg_attr(feature = "schema", schemars(with = "Id"))]
    pub method_id: u64,
    /// `Service.method`, if the process registered the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Arc<str>>,
    /// Their direction.
    pub direction: Direction,
    /// The registry that counted them, by its index among those of the process.
    pub registry: u32,
    /// How many ended in which way.
    pub outcomes: Outcomes,
    /// Payload bytes of their requests.
    pub request_bytes: u64,
    /// Payload bytes of their responses.
    pub response_bytes: u64,
    /// How long the answered ones took; `None` if none was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Microseconds since the last one ended; `None` if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ended_us: Option<u64>,
}

/// How many calls ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcomes {
    /// Answered with a value.
    pub ok: u64,
    /// Answered with an error of the application.
    pub user_error: u64,
    /// Rejected: the callee has no such method.
    pub unknown_method: u64,
    /// Rejected: the callee could not read the arguments.
    pub invalid_payload: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Given up by the caller.
    pub dropped: u64,
    /// Ended with their connection.
    pub connection_closed: u64,
    /// Ended by roam-shm, which does not report why.
    pub aborted: u64,
    /// Ended by a handler that gave no answer.
    pub no_answer: u64,
}

impl Outcomes {
    /// Returns how many calls have ended.
    pub fn ended(&self) -> u64 {
        [
            self.ok,
            self.user_error,
            self.unknown_method,
            self.invalid_payload,
            self.cancelled,
            self.dropped,
            self.connection_closed,
            self.aborted,
            self.no_answer,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// Returns how many calls were answered, with a value or with an error of the application.
    pub fn answered(&self) -> u64 {
        self.ok.saturating_add(self.user_error)
    }
}

/// How long calls took, in microseconds. Each percentile is the upper bound of a bucket, at most 4.5% too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Latency {
    /// Half of the calls took at most this long.
    pub p50_us: u64,
    /// 90% of the calls took at most this long.
    pub p90_us: u64,
    /// 99% of the calls took at most this long.
    pub p99_us: u64,
    /// The longest one.
    pub max_us: u64,
}
