//! Memory layout of the registry: one header page, then one table after the
//! other, each on a page boundary.
//!
//! A slot's `sequence` is odd while it is being written. It grows by two with
//! every claim, release and rename, so a row is whole when its sequence was the
//! same even number before and after it was read, and live when its `serial`
//! is not 0.

use core::mem::offset_of;

#[cfg(feature = "zerocopy")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::latency::BUCKETS;
use crate::limits::{
    ARGUMENTS_BYTES, CONNECTION_NAME_BYTES, ERROR_BYTES, METHOD_NAME_BYTES, TYPE_NAME_BYTES,
};

/// Name of the memory file; `/proc/PID/maps` shows it as `/memfd:roam-diagnostic`.
pub const REGION_NAME: &str = "roam-diagnostic";

/// First eight bytes of a region whose header is complete.
pub const MAGIC: u64 = u64::from_le_bytes(*b"roamdiag");

/// Version of everything in this file.
pub const ABI_VERSION: u32 = 3;

/// Bytes in front of the first table.
pub const HEADER_BYTES: usize = 4_096;

/// Header flag: the process records the arguments of its calls (`ROAM_DEBUG=1`).
pub const FLAG_ARGUMENTS: u32 = 1;

/// Header flag: the process has no clock that is both cheap and precise, and its times are those of the last timer
/// tick (1 to 10 ms ago).
pub const FLAG_COARSE_CLOCK: u32 = 2;

/// Header flag: only the probes report requests (`ROAM_DIAGNOSTIC=probes`). The tables of requests, arguments and
/// statistics have no slots.
pub const FLAG_PROBES_ONLY: u32 = 4;

/// Connection flag: the driver reports when a request was written to the transport.
pub const FLAG_OBSERVES_WRITES: u32 = 1;

/// Channel flag: the receiving end is gone, and nothing reads the items that are sent.
pub const FLAG_READER_GONE: u32 = 1;
/// Channel flag: the sending end is gone, and no more items arrive.
pub const FLAG_WRITER_GONE: u32 = 2;

/// The tables, in the order of their entries in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Table {
    /// [`ConnectionRecord`]s.
    Connections,
    /// [`RequestRecord`]s.
    Requests,
    /// [`ArgumentsRecord`]s, one for every request slot.
    Arguments,
    /// [`ChannelRecord`]s.
    Channels,
    /// [`MethodRecord`]s, appended and never released.
    Methods,
    /// [`TypeRecord`]s, appended and never released.
    Types,
    /// [`StatisticsRecord`]s, appended and never released.
    Statistics,
}

impl Table {
    /// Every table, in header order.
    pub const ALL: [Self; 7] = [
        Self::Connections,
        Self::Requests,
        Self::Arguments,
        Self::Channels,
        Self::Methods,
        Self::Types,
        Self::Statistics,
    ];

    /// Returns the bytes of one slot of this table.
    pub const fn slot_bytes(self) -> usize {
        match self {
            Self::Connections => size_of::<ConnectionRecord>(),
            Self::Requests => size_of::<RequestRecord>(),
            Self::Arguments => size_of::<ArgumentsRecord>(),
            Self::Channels => size_of::<ChannelRecord>(),
            Self::Methods => size_of::<MethodRecord>(),
            Self::Types => size_of::<TypeRecord>(),
            Self::Statistics => size_of::<StatisticsRecord>(),
        }
    }
}

/// Where a table lies and how full it is.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct TableRecord {
    /// Bytes from the start of the region.
    pub offset: u64,
    /// Events that found the table full.
    pub lost: u64,
    /// Slots.
    pub capacity: u32,
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Number of slots that were ever in use, from the first one.
    pub high_water: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Start of the region. `magic` is written last.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct HeaderRecord {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// [`HEADER_BYTES`].
    pub header_bytes: u32,
    /// The writer's pid in its own pid namespace.
    pub process_id: u32,
    /// Header flags.
    pub flags: u32,
    /// Field 22 of the writer's own `/proc/self/stat`: clock ticks since boot.
    pub process_start_ticks: u64,
    /// When the region was made, `CLOCK_MONOTONIC` nanoseconds.
    pub created_ns: u64,
    /// The tables, in the order of [`Table::ALL`].
    pub tables: [TableRecord; Table::ALL.len()],
}

/// One connection, root or virtual. All times are `CLOCK_MONOTONIC` nanoseconds
/// of the writer's time namespace.
///
/// The driver writes to the first two cache lines. `enqueued`, which every caller writes, is in the third.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct ConnectionRecord {
    /// See the text of this module.
    pub sequence: u64,
    /// Own serial, 0 in a free slot.
    pub serial: u64,
    /// Serial of the link's root connection; a root names itself.
    pub link: u64,
    /// The connection's id on the wire.
    pub conn_id: u64,
    /// Serial of the grouping row of its `DiagnosticState`, or 0.
    pub group: u64,
    /// Messages that the driver took from its queue. The queue is the link's, so this and the three
    /// fields about the driver below are in the row of the root connection.
    pub dequeued: u64,
    /// Messages handed to the transport.
    pub messages_sent: u64,
    /// Their payload bytes.
    pub bytes_sent: u64,
    /// Messages taken from the transport.
    pub messages_received: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
    /// When the last message was sent, 0 for never.
    pub last_sent_ns: u64,
    /// When the last message was received, 0 for never.
    pub last_received_ns: u64,
    /// Id of the channel whose buffer the driver waits for; valid while `delivering_since_ns` is not 0.
    pub delivering_channel: u64,
    /// Time since which the driver waits for the buffer, 0 if it does not.
    pub delivering_since_ns: u64,
    /// Heartbeat: when the driver last went round its loop, 0 if it does not report.
    pub polled_ns: u64,
    /// Time since which the driver is in a write to the transport, 0 if it is not.
    pub writing_since_ns: u64,
    /// Messages put into the driver's queue.
    pub enqueued: u64,
    /// When it was opened.
    pub opened_ns: u64,
    /// `Role` code.
    pub role: u32,
    /// `ConnectionState` code.
    pub state: u32,
    /// Connection flags.
    pub flags: u32,
    /// Attempts to connect that failed so far.
    pub attempts: u32,
    /// When `state` was reached.
    pub state_ns: u64,
    /// Bytes of `name`.
    pub name_bytes: u32,
    /// Bytes of `error`.
    pub error_bytes: u32,
    /// Address of the driver's transport object in the process's memory, 0 while there is none.
    pub transport_address: u64,
    /// Bytes of the transport object.
    pub transport_bytes: u32,
    /// Times that a client has lost the link, the present outage included.
    pub losses: u32,
    /// Name, UTF-8.
    pub name: [u8; CONNECTION_NAME_BYTES],
    /// Why the last attempt to connect failed, UTF-8.
    pub error: [u8; ERROR_BYTES],
}

/// One request in flight.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct RequestRecord {
    /// See the text of this module.
    pub sequence: u64,
    /// Own serial, 0 in a free slot.
    pub serial: u64,
    /// Serial of the connection.
    pub connection: u64,
    /// The request's id on the wire.
    pub request_id: u64,
    /// The method's id on the wire.
    pub method_id: u64,
    /// When it started, `CLOCK_MONOTONIC` nanoseconds.
    pub started_ns: u64,
    /// A [`PhaseWord`].
    pub phase: u64,
    /// A [`ResponseWord`].
    pub response: u64,
    /// Payload bytes of the request.
    pub request_bytes: u64,
    /// Serial of the incoming request whose handler made this call, 0 where that is not known.
    pub parent: u64,
    /// `Direction` code.
    pub direction: u32,
    /// `RequestKind` code.
    pub kind: u32,
    /// Bytes of its slot in the arguments table that are in use.
    pub arguments_bytes: u32,
    /// Always 0.
    pub reserved: [u32; 9],
}

/// The arguments of a request as text. Belongs to the request slot of the same index.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct ArgumentsRecord {
    /// UTF-8; the request row holds the number of bytes.
    pub text: [u8; ARGUMENTS_BYTES],
}

/// One open channel.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct ChannelRecord {
    /// See the text of this module.
    pub sequence: u64,
    /// Own serial, 0 in a free slot.
    pub serial: u64,
    /// Serial of the connection.
    pub connection: u64,
    /// Serial of the request that opened it, or 0.
    pub request: u64,
    /// The channel's id on the wire.
    pub channel_id: u64,
    /// When it was opened, `CLOCK_MONOTONIC` nanoseconds.
    pub opened_ns: u64,
    /// When data last moved, 0 for never.
    pub last_activity_ns: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Items sent.
    pub items_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Items received.
    pub items_received: u64,
    /// Received items that the program has read.
    pub items_read: u64,
    /// Payload bytes the peer may still send, `u64::MAX` where there is no limit or it is unknown.
    pub receive_budget_bytes: u64,
    /// `ChannelDirection` code.
    pub direction: u32,
    /// `ChannelSide` code.
    pub side: u32,
    /// Slot of the element type's name plus one, or 0.
    pub type_index: u32,
    /// Channel flags.
    pub flags: u32,
    /// Always 0.
    pub reserved: u64,
}

/// The name of a method. Complete once `sequence` is 2.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct MethodRecord {
    /// See the text of this module.
    pub sequence: u64,
    /// The method's id on the wire.
    pub method_id: u64,
    /// Bytes of `name`.
    pub name_bytes: u32,
    /// Always 0.
    pub reserved: u32,
    /// `Service.method`, UTF-8.
    pub name: [u8; METHOD_NAME_BYTES],
}

/// The name of a channel's element type. Complete once `sequence` is 2.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct TypeRecord {
    /// See the text of this module.
    pub sequence: u64,
    /// Bytes of `name`.
    pub name_bytes: u32,
    /// Always 0.
    pub reserved: u32,
    /// As Rust writes it, UTF-8.
    pub name: [u8; TYPE_NAME_BYTES],
}

/// The calls of one method in one direction that ended, as one thread counted them. Its counters have one writer at a
/// time and only grow; those of several rows with the same method and direction are added up.
///
/// Complete once `sequence` is 2. No counter is read together with another: a reader sees each at its own moment.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct StatisticsRecord {
    /// See the text of this module.
    pub sequence: u64,
    /// The method's id on the wire.
    pub method_id: u64,
    /// `Direction` code.
    pub direction: u32,
    /// Always 0.
    pub reserved: u32,
    /// When the last call ended, `CLOCK_MONOTONIC` nanoseconds; if it had a response, when that was there.
    pub last_ended_ns: u64,
    /// Calls that ended, by `Outcome` code less one.
    pub outcomes: [u64; OUTCOMES],
    /// Payload bytes of their requests.
    pub request_bytes: u64,
    /// Payload bytes of their responses.
    pub response_bytes: u64,
    /// Longest latency of an answered call, in units of [`latency`](crate::latency).
    pub longest: u64,
    /// Always 0.
    pub reserved_words: [u64; 16],
    /// Answered calls by latency; see [`latency`](crate::latency). A call is answered if its outcome is
    /// `Outcome::Ok` or `Outcome::UserError`.
    pub buckets: [u64; BUCKETS],
}

/// Outcomes that a [`StatisticsRecord`] counts.
pub const OUTCOMES: usize = 9;

/// The phase of a request and its time, the outcome once there is a response, and a mark, in the one word that its
/// writers compare and swap: low bits of the slot's generation, mark, outcome, phase, microseconds since the request
/// started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseWord(pub u64);

impl PhaseWord {
    const PHASE_SHIFT: u32 = 41;
    const OUTCOME_SHIFT: u32 = 44;
    const MARK_SHIFT: u32 = 48;
    const GENERATION_SHIFT: u32 = 50;
    const PHASE_MASK: u64 = (1 << (Self::OUTCOME_SHIFT - Self::PHASE_SHIFT)) - 1;
    const OUTCOME_MASK: u64 = (1 << (Self::MARK_SHIFT - Self::OUTCOME_SHIFT)) - 1;
    const MARK_MASK: u64 = (1 << (Self::GENERATION_SHIFT - Self::MARK_SHIFT)) - 1;

    /// Microseconds at which the word is full: 25 days.
    pub const MAX_ELAPSED_US: u64 = (1 << Self::PHASE_SHIFT) - 1;

    /// Packs the parts of the word, without an outcome; `elapsed_us` beyond [`Self::MAX_ELAPSED_US`] is cut to it.
    #[inline]
    pub const fn new(generation: u64, mark: u32, phase: u32, elapsed_us: u64) -> Self {
        Self(generation << Self::GENERATION_SHIFT | (mark as u64) << Self::MARK_SHIFT)
            .with_phase(phase, elapsed_us)
    }

    /// Returns the word with another phase, reached `elapsed_us` after the request started.
    #[inline]
    pub const fn with_phase(self, phase: u32, elapsed_us: u64) -> Self {
        let elapsed_us = if elapsed_us > Self::MAX_ELAPSED_US {
            Self::MAX_ELAPSED_US
        } else {
            elapsed_us
        };
        let rest = self.0 & !(Self::PHASE_MASK << Self::PHASE_SHIFT | Self::MAX_ELAPSED_US);
        Self(rest | (phase as u64) << Self::PHASE_SHIFT | elapsed_us)
    }

    /// Returns the word with another outcome.
    #[inline]
    pub const fn with_outcome(self, outcome: u32) -> Self {
        let rest = self.0 & !(Self::OUTCOME_MASK << Self::OUTCOME_SHIFT);
        Self(rest | (outcome as u64) << Self::OUTCOME_SHIFT)
    }

    /// Returns the word with another mark.
    #[inline]
    pub const fn with_mark(self, mark: u32) -> Self {
        let rest = self.0 & !(Self::MARK_MASK << Self::MARK_SHIFT);
        Self(rest | (mark as u64) << Self::MARK_SHIFT)
    }

    /// Returns whether the word can belong to this generation of its slot.
    #[inline]
    pub const fn is_of(self, generation: u64) -> bool {
        self.0 >> Self::GENERATION_SHIFT
            == generation & ((1 << (u64::BITS - Self::GENERATION_SHIFT)) - 1)
    }

    /// `Mark` code, or 0.
    pub const fn mark(self) -> u32 {
        (self.0 >> Self::MARK_SHIFT & Self::MARK_MASK) as u32
    }

    /// `Outcome` code, 0 while there is no response.
    pub const fn outcome(self) -> u32 {
        (self.0 >> Self::OUTCOME_SHIFT & Self::OUTCOME_MASK) as u32
    }

    /// `Phase` code.
    pub const fn phase(self) -> u32 {
        (self.0 >> Self::PHASE_SHIFT & Self::PHASE_MASK) as u32
    }

    /// Microseconds from the request's start to the phase.
    pub const fn elapsed_us(self) -> u64 {
        self.0 & Self::MAX_ELAPSED_US
    }
}

/// The size of a response, and its time to the nanosecond, in one word: low bits of the slot's generation, the
/// nanoseconds beyond the microseconds in the [`PhaseWord`], payload bytes.
///
/// Whoever reports the response stores it, without looking at what was there. A late store may replace the word of
/// the slot's next request, so a word counts only if it [is of](Self::is_of) the request's generation and the phase
/// word has an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseWord(pub u64);

impl ResponseWord {
    const REST_SHIFT: u32 = 32;
    const GENERATION_SHIFT: u32 = 42;
    const REST_MASK: u64 = (1 << (Self::GENERATION_SHIFT - Self::REST_SHIFT)) - 1;

    /// Packs the parts of the word; `bytes` beyond 2^32 - 1 is cut to that. `rest_ns` is less than 1,000.
    #[inline]
    pub const fn new(generation: u64, rest_ns: u64, bytes: u64) -> Self {
        let bytes = if bytes > u32::MAX as u64 {
            u32::MAX as u64
        } else {
            bytes
        };
        Self(
            generation << Self::GENERATION_SHIFT
                | (rest_ns & Self::REST_MASK) << Self::REST_SHIFT
                | bytes,
        )
    }

    /// Returns whether the word can belong to this generation of its slot.
    #[inline]
    pub const fn is_of(self, generation: u64) -> bool {
        self.0 >> Self::GENERATION_SHIFT
            == generation & ((1 << (u64::BITS - Self::GENERATION_SHIFT)) - 1)
    }

    /// Nanoseconds of the response's time beyond the microseconds in the phase word.
    pub const fn rest_ns(self) -> u64 {
        self.0 >> Self::REST_SHIFT & Self::REST_MASK
    }

    /// Payload bytes of the response.
    pub const fn bytes(self) -> u64 {
        self.0 & u32::MAX as u64
    }
}

const _: () = assert!(size_of::<TableRecord>() == 32);
const _: () = assert!(size_of::<HeaderRecord>() == 40 + 7 * 32);
const _: () = assert!(size_of::<HeaderRecord>() <= HEADER_BYTES);
const _: () = assert!(offset_of!(HeaderRecord, tables) == 40);
const _: () = assert!(size_of::<ConnectionRecord>() == 384);
const _: () = assert!(offset_of!(ConnectionRecord, enqueued) == 128);
const _: () = assert!(offset_of!(ConnectionRecord, transport_address) == 176);
const _: () = assert!(offset_of!(ConnectionRecord, name) == 192);
const _: () = assert!(offset_of!(ConnectionRecord, error) == 272);
const _: () = assert!(size_of::<RequestRecord>() == 128);
const _: () = assert!(offset_of!(RequestRecord, direction) == 80);
const _: () = assert!(size_of::<ArgumentsRecord>() == 256);
const _: () = assert!(size_of::<ChannelRecord>() == 128);
const _: () = assert!(offset_of!(ChannelRecord, direction) == 104);
const _: () = assert!(size_of::<MethodRecord>() == 256);
const _: () = assert!(size_of::<TypeRecord>() == 256);
const _: () = assert!(size_of::<StatisticsRecord>() == 4_096);
const _: () = assert!(offset_of!(StatisticsRecord, buckets) == 256);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Mark, Outcome, Phase};

    #[test]
    fn a_phase_word_keeps_its_parts() {
        let parts =
            |word: PhaseWord| (word.mark(), word.outcome(), word.phase(), word.elapsed_us());
        let word = PhaseWord::new(0x4001, 2, 7, 123_456_789);
        assert!(word.is_of(1) && word.is_of(0x4001) && !word.is_of(2));
        assert_eq!(parts(word), (2, 0, 7, 123_456_789));
        let word = word.with_outcome(9).with_mark(1).with_phase(3, u64::MAX);
        assert!(word.is_of(1));
        assert_eq!(parts(word), (1, 9, 3, PhaseWord::MAX_ELAPSED_US));
        assert_eq!(parts(word.with_outcome(1).with_mark(0)).1, 1);
    }

    #[test]
    fn the_codes_of_a_phase_word_have_room() {
        for mark in Mark::ALL {
            for phase in Phase::ALL {
                for outcome in Outcome::ALL {
                    let word = PhaseWord::new(0, mark.code(), phase.code(), 0)
                        .with_outcome(outcome.code());
                    let codes = (word.mark(), word.outcome(), word.phase());
                    assert_eq!(codes, (mark.code(), outcome.code(), phase.code()));
                }
            }
        }
        assert_eq!(Outcome::ALL.len(), OUTCOMES);
    }

    #[test]
    fn a_response_word_keeps_its_parts() {
        let word = ResponseWord::new(1 << 22 | 9, 999, 1 << 31);
        assert!(word.is_of(9) && word.is_of(1 << 22 | 9) && !word.is_of(1 << 14 | 9));
        assert_eq!((word.rest_ns(), word.bytes()), (999, 1 << 31));
        assert_eq!(
            ResponseWord::new(0, 1, u64::MAX).bytes(),
            u64::from(u32::MAX)
        );
    }
}
