//! Rows that are whole and in use, of the first generation of their slot: a hung call and what belongs to it.
//! A test changes the fields it is about.

use roam_trace_common::Serial;
use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Phase, RequestKind, Role,
};
use roam_trace_common::latency::bucket_of;
use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, MethodRecord, PhaseWord, RequestRecord, StatisticsRecord,
    TypeRecord,
};
use zerocopy::FromZeros;

/// The sequence of a row that was written once.
const WHOLE: u64 = 2;

/// The serial of what is in a slot.
pub fn serial(slot: u64) -> u64 {
    Serial::new(slot as u32, 1).0
}

/// The root connection of a link, which is open.
pub fn connection(slot: u64) -> ConnectionRecord {
    ConnectionRecord {
        sequence: WHOLE,
        serial: serial(slot),
        link: serial(slot),
        role: Role::Initiator.code(),
        state: ConnectionState::Open.code(),
        opened_ns: 1,
        state_ns: 1,
        ..ConnectionRecord::new_zeroed()
    }
}

/// An outgoing call over the connection in slot 0, 5 us after which it was written to the transport.
pub fn request(slot: u64) -> RequestRecord {
    RequestRecord {
        sequence: WHOLE,
        serial: serial(slot),
        connection: serial(0),
        request_id: slot,
        started_ns: 1,
        phase: PhaseWord::new(1, 0, Phase::Sent.code(), 5).0,
        direction: Direction::Outgoing.code(),
        kind: RequestKind::Call.code(),
        ..RequestRecord::new_zeroed()
    }
}

/// A channel of the call in slot 0 that sends.
pub fn channel(slot: u64) -> ChannelRecord {
    ChannelRecord {
        sequence: WHOLE,
        serial: serial(slot),
        connection: serial(0),
        request: serial(0),
        channel_id: slot,
        opened_ns: 1,
        direction: ChannelDirection::Tx.code(),
        side: ChannelSide::Client.code(),
        ..ChannelRecord::new_zeroed()
    }
}

/// A method's name, as much of it as there is room for.
pub fn method(method_id: u64, name: &[u8]) -> MethodRecord {
    let (name_bytes, name) = text(name);
    MethodRecord {
        sequence: WHOLE,
        method_id,
        name_bytes,
        reserved: 0,
        name,
    }
}

/// The statistics of a method of which three calls were answered, within one to three units of 2^-10 s.
pub fn statistics(method_id: u64) -> StatisticsRecord {
    let mut row = StatisticsRecord {
        sequence: WHOLE,
        method_id,
        direction: Direction::Outgoing.code(),
        last_ended_ns: 1,
        longest: 3 << 20,
        ..StatisticsRecord::new_zeroed()
    };
    row.outcomes[0] = 3;
    for units in [1, 2, 3] {
        row.buckets[bucket_of(units << 20)] += 1;
    }
    row
}

/// The name of a channel's element type, as much of it as there is room for.
pub fn element_type(name: &[u8]) -> TypeRecord {
    let (name_bytes, name) = text(name);
    TypeRecord {
        sequence: WHOLE,
        name_bytes,
        reserved: 0,
        name,
    }
}

/// A field for text, as much of it as there is room for, and how many bytes that is.
pub fn text<const N: usize>(text: &[u8]) -> (u32, [u8; N]) {
    let mut field = [0; N];
    let bytes = text.len().min(N);
    field[..bytes].copy_from_slice(&text[..bytes]);
    (bytes as u32, field)
}
