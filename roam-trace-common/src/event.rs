//! Probe arguments, and the keys and values of the kernel maps.
//!
//! Every probe has the provider [`PROVIDER`] and the name of its event. All
//! arguments are `u64`; argument 0 is the record's serial.
//!
//! | probe | 1 | 2 | 3 | 4 | 5 | 6 |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | `request_start` | connection serial | request id | method id | [`pack_request`] | request payload bytes | parent's serial or 0 |
//! | `request_phase` | [`Phase`] | [`Mark`]s | response payload bytes | | | |
//! | `request_end` | [`Outcome`] | response payload bytes | | | | |
//! | `channel_open` | connection serial | channel id | request serial or 0 | [`pack_channel`] | receive budget, bytes | |
//! | `channel_data` | [`ChannelDirection`] | payload bytes | receive budget, bytes | | | |
//! | `channel_close` | | | | | | |
//! | `connection_open` | link's serial | wire connection id | [`Role`] | | | |
//! | `connection_close` | | | | | | |
//!
//! The parent of a request is the incoming request whose handler makes the call.

#[cfg(feature = "zerocopy")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// USDT provider of every probe.
pub const PROVIDER: &str = "roam";

/// Probe names, in the order of the table above.
pub const PROBES: [&str; 8] = [
    "request_start",
    "request_phase",
    "request_end",
    "channel_open",
    "channel_data",
    "channel_close",
    "connection_open",
    "connection_close",
];

/// Declares an enum whose codes are part of the contract.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(
            feature = "serde",
            derive(serde::Serialize, serde::Deserialize),
            serde(rename_all = "snake_case")
        )]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[repr(u32)]
        pub enum $name { $($(#[$variant_meta])* $variant = $code,)* }

        impl $name {
            /// Every value, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the code of the value in records and probe arguments.
            pub const fn code(self) -> u32 {
                self as u32
            }

            /// Returns the value with this code, if there is one.
            pub const fn from_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The direction of a request, as the traced process sees it.
    Direction {
        /// The process is the caller.
        Outgoing = 1,
        /// The process is the callee.
        Incoming = 2,
    }
}

codes! {
    /// The kind of a request.
    RequestKind {
        /// A method call.
        Call = 1,
        /// The opening of a virtual connection, waiting for Accept or Reject.
        Connect = 2,
    }
}

codes! {
    /// How far a request got.
    Phase {
        /// Outgoing: waiting for room in the driver's queue.
        Queued = 1,
        /// Outgoing: in the driver's queue.
        HandedOver = 2,
        /// Outgoing: written to the transport.
        Sent = 3,
        /// Outgoing: the response has arrived, and the caller has not read it.
        Responded = 4,
        /// Incoming: read from the transport; the handler has not been polled.
        Received = 5,
        /// Incoming: the handler runs.
        Running = 6,
        /// Incoming: the response waits for the driver's queue or the transport.
        Responding = 7,
    }
}

codes! {
    /// Why a row stays although its request can no longer end as usual.
    Mark {
        /// The handler still runs, and its connection closed or its caller cancelled the call.
        Orphaned = 1,
        /// The handler ended without a response: it panicked, or its response did not serialize.
        EndedWithoutAnswer = 2,
    }
}

codes! {
    /// How a request ended.
    Outcome {
        /// Answered with a value.
        Ok = 1,
        /// Answered with the method's own error.
        UserError = 2,
        /// The callee has no such method.
        UnknownMethod = 3,
        /// The callee could not decode the arguments.
        InvalidPayload = 4,
        /// Cancelled by the caller or the callee.
        Cancelled = 5,
        /// The caller dropped its future.
        Dropped = 6,
        /// The connection closed first.
        ConnectionClosed = 7,
        /// Cancelled or connection closed, where the two cannot be distinguished.
        Aborted = 8,
        /// The handler had ended without a response when its connection closed.
        NoAnswer = 9,
    }
}

codes! {
    /// The direction of a channel's data, as the traced process sees it.
    ChannelDirection {
        /// The process sends.
        Tx = 1,
        /// The process receives.
        Rx = 2,
    }
}

codes! {
    /// Which of a connection's two channel registries a channel belongs to.
    ChannelSide {
        /// Channels of calls this process made.
        Client = 1,
        /// Channels of calls this process serves.
        Server = 2,
    }
}

codes! {
    /// Which end of a link the process is.
    Role {
        /// It opened the link.
        Initiator = 1,
        /// It accepted the link.
        Acceptor = 2,
    }
}

codes! {
    /// The state of a connection.
    ConnectionState {
        /// Ready for calls.
        Open = 1,
        /// Closed, but calls that came over it are still running.
        Closed = 2,
        /// A client is connecting.
        Connecting = 3,
        /// A client waits before its next attempt.
        BackingOff = 4,
        /// No connection of its own: groups what was recorded directly in a `DiagnosticState`.
        Grouping = 5,
        /// A client has lost its link or has failed to connect, and no call waits for a further attempt. The next call
        /// makes one.
        Disconnected = 6,
    }
}

codes! {
    /// Why the eBPF programs stopped tracing a process.
    TargetEnd {
        /// It executed another program, which ended every record.
        Exec = 1,
        /// Its last thread exited.
        Exit = 2,
    }
}

codes! {
    /// What the eBPF programs count when the maps cannot be complete. The code is the counter's
    /// index in the kernel map.
    Loss {
        /// A request started and its row could not be inserted.
        RequestInsert = 0,
        /// A channel opened and its row could not be inserted.
        ChannelInsert = 1,
        /// A connection opened and its row could not be inserted.
        ConnectionInsert = 2,
        /// A request started or ended and the traffic of its connection could not be counted.
        TrafficInsert = 3,
        /// A request ended that had no row although seeding was done.
        RequestUnmatched = 4,
        /// A channel closed that had no row although seeding was done.
        ChannelUnmatched = 5,
        /// A connection closed that had no row although seeding was done.
        ConnectionUnmatched = 6,
        /// A request ended and its row could not be removed.
        RequestDelete = 7,
        /// A channel closed and its row could not be removed.
        ChannelDelete = 8,
        /// A connection closed and its row could not be removed.
        ConnectionDelete = 9,
        /// A process of an armed executable reported its first event, and there was no room for it. None of its rows
        /// are in the maps.
        TargetInsert = 10,
    }
}

codes! {
    /// What the programs do besides keeping the maps of what is in flight.
    LiveMode {
        /// Put an event into the ring buffer when a request ends.
        Ends = 1,
        /// Put every event into the ring buffer, but for those of connections.
        All = 2,
        /// Count the requests that are answered, by method, direction and latency.
        Histogram = 3,
    }
}

codes! {
    /// An event in the ring buffer.
    EventKind {
        /// A request started.
        RequestStart = 1,
        /// A request reached another phase.
        RequestPhase = 2,
        /// A request ended.
        RequestEnd = 3,
        /// A channel was opened.
        ChannelOpen = 4,
        /// Data moved over a channel.
        ChannelData = 5,
        /// A channel was closed.
        ChannelClose = 6,
    }
}

codes! {
    /// What the programs count while they report live. The code is the counter's index in the kernel map.
    LiveCount {
        /// Events that found the ring buffer full, or calls that found the map of the histogram full.
        Lost = 0,
        /// Requests that ended and were not reported, since nothing is known of their start.
        Unknown = 1,
    }
}

/// Packs argument 4 of `request_start`.
pub const fn pack_request(direction: Direction, phase: Phase, kind: RequestKind) -> u64 {
    direction.code() as u64 | (phase.code() as u64) << 8 | (kind.code() as u64) << 16
}

/// Returns the codes of direction, phase and kind in argument 4 of `request_start`.
pub const fn unpack_request(packed: u64) -> (u32, u32, u32) {
    (
        (packed & 0xff) as u32,
        (packed >> 8 & 0xff) as u32,
        (packed >> 16 & 0xff) as u32,
    )
}

/// Packs argument 4 of `channel_open`. `type_index` is a type's slot plus one, 0 where it is unknown.
pub const fn pack_channel(direction: ChannelDirection, side: ChannelSide, type_index: u32) -> u64 {
    direction.code() as u64 | (side.code() as u64) << 8 | (type_index as u64) << 32
}

/// Returns the codes of direction and side and the type index in argument 4 of `channel_open`.
pub const fn unpack_channel(packed: u64) -> (u32, u32, u32) {
    (
        (packed & 0xff) as u32,
        (packed >> 8 & 0xff) as u32,
        (packed >> 32) as u32,
    )
}

/// The key of a record in the kernel maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct RecordKey {
    /// The record's serial.
    pub serial: u64,
    /// Thread group id as the tracer's pid namespace numbers it.
    pub tgid: u32,
    /// Always 0.
    pub reserved: u32,
}

/// An in-flight request, as the probes reported it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct RequestValue {
    /// Serial of the connection.
    pub connection: u64,
    /// The request's id on the wire.
    pub request_id: u64,
    /// The method's id on the wire.
    pub method_id: u64,
    /// When it started, `CLOCK_MONOTONIC` nanoseconds of the initial time namespace.
    pub started_ns: u64,
    /// When `phase` was reached, same clock.
    pub phase_ns: u64,
    /// Payload bytes of the request.
    pub request_bytes: u64,
    /// Payload bytes of the response, 0 until it is known.
    pub response_bytes: u64,
    /// Serial of the incoming request whose handler made this call, 0 where that is not known.
    pub parent: u64,
    /// [`Direction`] code.
    pub direction: u32,
    /// [`Phase`] code.
    pub phase: u32,
    /// [`RequestKind`] code.
    pub kind: u32,
    /// [`Mark`] code, or 0.
    pub mark: u32,
    /// 1 once a probe reported the row, 0 while it is only a seeded row.
    pub seen: u32,
    /// Always 0.
    pub reserved: u32,
}

/// An open channel, as the probes reported it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct ChannelValue {
    /// Serial of the connection.
    pub connection: u64,
    /// The channel's id on the wire.
    pub channel_id: u64,
    /// Serial of the request that opened it, or 0.
    pub request: u64,
    /// When it was opened, `CLOCK_MONOTONIC` nanoseconds of the initial time namespace.
    pub opened_ns: u64,
    /// When data last moved, same clock, 0 for never.
    pub last_activity_ns: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Items sent.
    pub items_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Items received.
    pub items_received: u64,
    /// Payload bytes the peer may still send, `u64::MAX` where there is no limit or it is unknown.
    pub receive_budget_bytes: u64,
    /// [`ChannelDirection`] code.
    pub direction: u32,
    /// [`ChannelSide`] code.
    pub side: u32,
    /// Slot of the element type's name plus one, or 0.
    pub type_index: u32,
    /// 1 once a probe reported the row, 0 while it is only a seeded row.
    pub seen: u32,
}

/// An open connection, as the probes reported it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct ConnectionValue {
    /// Serial of the link's root connection.
    pub link: u64,
    /// The connection's id on the wire.
    pub conn_id: u64,
    /// When it was opened, `CLOCK_MONOTONIC` nanoseconds of the initial time namespace.
    pub opened_ns: u64,
    /// [`Role`] code.
    pub role: u32,
    /// 1 once a probe reported the row, 0 while it is only a seeded row.
    pub seen: u32,
}

/// Requests of one connection that started and ended while the probes were attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct TrafficValue {
    /// Requests that started.
    pub started: u64,
    /// Requests that ended.
    pub ended: u64,
}

/// A process that is traced. Its key is the tgid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct TargetValue {
    /// When tracing it ended, `CLOCK_MONOTONIC` nanoseconds of the initial time namespace,
    /// 0 while it has not. Its rows mean nothing from then on.
    pub ended_ns: u64,
    /// Of an armed set, when the process reported its first event, same clock; otherwise 0. Rows that
    /// are older are not its own.
    pub began_ns: u64,
    /// Of an armed set, at least as many as it has rows in the map of requests.
    pub requests: u64,
    /// The same of channels.
    pub channels: u64,
    /// The same of connections.
    pub connections: u64,
    /// [`TargetEnd`] code, or 0.
    pub end: u32,
    /// 1 once a probe fired in it.
    pub seen: u32,
}

/// A method as one process calls or serves it. The key of a filter's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct MethodKey {
    /// The method's id on the wire.
    pub method_id: u64,
    /// Thread group id as the tracer's pid namespace numbers it.
    pub tgid: u32,
    /// Always 0.
    pub reserved: u32,
}

/// A bucket of a histogram. Its value is the number of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct BucketKey {
    /// The method's id on the wire.
    pub method_id: u64,
    /// Thread group id as the tracer's pid namespace numbers it.
    pub tgid: u32,
    /// [`Direction`] code.
    pub direction: u32,
    /// The bucket, as [`latency::bucket_of`](crate::latency::bucket_of) numbers it.
    pub bucket: u32,
    /// Always 0.
    pub reserved: u32,
}

/// An event in the ring buffer. Of a request whose row is not in the map, `direction` is 0, and so is everything that
/// the row would tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct EventRecord {
    /// When it happened, `CLOCK_MONOTONIC` nanoseconds of the initial time namespace.
    pub time_ns: u64,
    /// Serial of the request; of a channel event, that of the request that opened the channel, or 0.
    pub request: u64,
    /// Serial of the channel, or 0.
    pub channel: u64,
    /// Serial of the connection.
    pub connection: u64,
    /// The request's or the channel's id on the wire.
    pub wire_id: u64,
    /// The method's id on the wire.
    pub method_id: u64,
    /// When the request started, same clock.
    pub started_ns: u64,
    /// Payload bytes of the request; of a channel event, those that moved.
    pub request_bytes: u64,
    /// Payload bytes of the response, 0 until it is known.
    pub response_bytes: u64,
    /// Events that this CPU has lost so far.
    pub lost: u64,
    /// Thread group id as the tracer's pid namespace numbers it.
    pub tgid: u32,
    /// The CPU.
    pub cpu: u32,
    /// [`EventKind`] code.
    pub kind: u32,
    /// [`Phase`] code of a start or a phase, [`Outcome`] code of an end, [`ChannelDirection`] code of a channel event.
    pub code: u32,
    /// [`Direction`] code of the request.
    pub direction: u32,
    /// [`RequestKind`] code of the request.
    pub request_kind: u32,
}

const _: () = assert!(size_of::<RecordKey>() == 16);
const _: () = assert!(size_of::<RequestValue>() == 88);
const _: () = assert!(size_of::<ChannelValue>() == 96);
const _: () = assert!(size_of::<ConnectionValue>() == 32);
const _: () = assert!(size_of::<TrafficValue>() == 16);
const _: () = assert!(size_of::<TargetValue>() == 48);
const _: () = assert!(size_of::<MethodKey>() == 16);
const _: () = assert!(size_of::<BucketKey>() == 24);
const _: () = assert!(size_of::<EventRecord>() == 104);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_arguments_come_apart_again() {
        for &direction in Direction::ALL {
            for &phase in Phase::ALL {
                for &kind in RequestKind::ALL {
                    assert_eq!(
                        unpack_request(pack_request(direction, phase, kind)),
                        (direction.code(), phase.code(), kind.code())
                    );
                }
            }
        }
        assert_eq!(
            unpack_channel(pack_channel(
                ChannelDirection::Rx,
                ChannelSide::Server,
                u32::MAX
            )),
            (2, 2, u32::MAX)
        );
    }

    #[test]
    fn every_code_stands_for_one_value() {
        for &outcome in Outcome::ALL {
            assert_eq!(Outcome::from_code(outcome.code()), Some(outcome));
        }
        assert_eq!(Outcome::from_code(0), None);
        assert_eq!(Phase::from_code(8), None);
    }
}
