//! What the row with a given id holds. Writer and reader both ask here, and exchange nothing else.

use roam_diagnostic::registry::{
    ChannelDirection, ChannelSide, Direction, Outcome, Phase, RequestKind, Role,
};
use roam_trace_common::Serial;
use roam_trace_common::registry::{ChannelRecord, PhaseWord, RequestRecord, ResponseWord};

pub(crate) const THREADS: usize = 8;
/// Connections of each thread that stay, with its first ids.
pub(crate) const LASTING: usize = 3;
pub(crate) const RENAMES: u64 = 3;
/// Items that go over one channel.
pub(crate) const ITEMS: u64 = 8;
pub(crate) const TYPES: [&str; 3] = ["u8", "Vec<String>", "a::very::long::path::to::a::Type"];

/// The tables that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Connection,
    Request,
    Channel,
}

pub(crate) fn id(thread: usize, counter: u64) -> u64 {
    (thread as u64) << 48 | counter
}

pub(crate) fn thread(id: u64) -> usize {
    (id >> 48) as usize
}

pub(crate) fn counter(id: u64) -> u64 {
    id & ((1 << 48) - 1)
}

/// A number that follows from an id and from what it is for, and from nothing less.
pub(crate) fn mix(id: u64, purpose: u64) -> u64 {
    let mut word = id.wrapping_add(purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for factor in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
        word = (word ^ (word >> 29)).wrapping_mul(factor);
    }
    word ^ (word >> 32)
}

fn pick<T: Copy>(from: &[T], id: u64, purpose: u64) -> T {
    from[(mix(id, purpose) % from.len() as u64) as usize]
}

/// The lasting connection that a request or channel goes over.
pub(crate) fn home(id: u64) -> u64 {
    self::id(thread(id), mix(id, 1) % LASTING as u64)
}

pub(crate) fn role(id: u64) -> Role {
    pick(Role::ALL, id, 2)
}

pub(crate) fn observes_writes(id: u64) -> bool {
    mix(id, 3).is_multiple_of(2)
}

/// Its `version`-th name: of another length than the one before, all of it telling whose it is.
pub(crate) fn name(id: u64, version: u64) -> String {
    let word = format!("{:016x}", mix(id, 100 + version));
    word.repeat((mix(id, 4) + version) as usize % 5 + 1)
}

pub(crate) fn method_id(id: u64) -> u64 {
    mix(id, 5)
}

pub(crate) fn direction(id: u64) -> Direction {
    pick(Direction::ALL, id, 6)
}

pub(crate) fn request_kind(id: u64) -> RequestKind {
    pick(RequestKind::ALL, id, 7)
}

/// The phases that it goes through.
pub(crate) fn phases(id: u64) -> &'static [Phase] {
    match direction(id) {
        Direction::Outgoing => &[
            Phase::Queued,
            Phase::HandedOver,
            Phase::Sent,
            Phase::Responded,
        ],
        Direction::Incoming => &[Phase::Received, Phase::Running, Phase::Responding],
    }
}

pub(crate) fn payload_bytes(id: u64) -> u64 {
    mix(id, 8)
}

pub(crate) fn arguments(id: u64) -> Option<String> {
    let word = format!("{:016x}", mix(id, 9));
    let times = (mix(id, 10) % 5) as usize;
    (times > 0).then(|| word.repeat(times))
}

pub(crate) fn outcome(id: u64) -> Outcome {
    pick(Outcome::ALL, id, 11)
}

pub(crate) fn response_bytes(id: u64) -> u64 {
    mix(id, 12) % (1 << 32)
}

pub(crate) fn channel_direction(id: u64) -> ChannelDirection {
    pick(ChannelDirection::ALL, id, 13)
}

pub(crate) fn channel_side(id: u64) -> ChannelSide {
    pick(ChannelSide::ALL, id, 14)
}

pub(crate) fn budget(id: u64) -> u64 {
    mix(id, 15)
}

/// The slot of its type's name plus one.
pub(crate) fn type_index(id: u64) -> u32 {
    (mix(id, 16) % TYPES.len() as u64) as u32 + 1
}

pub(crate) fn item_bytes(id: u64) -> u64 {
    mix(id, 17) % 10_000 + 1
}

fn ensure(is_so: bool, problem: &'static str) -> Result<(), &'static str> {
    is_so.then_some(()).ok_or(problem)
}

/// Whether the row with this request id can have been written.
pub(crate) fn check_request(
    row: &RequestRecord,
    found_arguments: Option<&[u8]>,
) -> Result<(), &'static str> {
    let id = row.request_id;
    ensure(row.method_id == method_id(id), "method")?;
    ensure(row.request_bytes == payload_bytes(id), "payload bytes")?;
    ensure(row.direction == direction(id).code(), "direction")?;
    ensure(row.kind == request_kind(id).code(), "kind")?;
    ensure(row.parent == 0, "parent")?;
    ensure(row.started_ns != 0, "start")?;

    let generation = Serial(row.serial).generation();
    let phase = PhaseWord(row.phase);
    let phases = phases(id);
    ensure(phase.is_of(generation), "generation of the phase")?;
    let known = phases.iter().any(|known| known.code() == phase.phase());
    ensure(known, "phase")?;
    ensure(phase.mark() == 0, "mark")?;

    let response = ResponseWord(row.response);
    let outcomes = [0, outcome(id).code()];
    ensure(outcomes.contains(&phase.outcome()), "outcome")?;
    // A late store may have replaced the word: it is not taken for this request's then.
    let is_theirs = !response.is_of(generation) || response.bytes() == response_bytes(id);
    ensure(phase.outcome() == 0 || is_theirs, "response")?;

    let expected = arguments(id).unwrap_or_default();
    ensure(
        row.arguments_bytes as usize == expected.len(),
        "length of the arguments",
    )?;
    // The reader leaves out arguments whose request ended meanwhile.
    let is_theirs = found_arguments.is_none_or(|found| found == expected.as_bytes());
    ensure(is_theirs, "arguments")
}

/// Whether the row with this channel id can have been written.
pub(crate) fn check_channel(row: &ChannelRecord) -> Result<(), &'static str> {
    let id = row.channel_id;
    let direction = channel_direction(id);
    ensure(row.direction == direction.code(), "direction")?;
    ensure(row.side == channel_side(id).code(), "side")?;
    ensure(row.type_index == type_index(id), "type")?;
    ensure(row.opened_ns != 0 && row.request == 0, "start")?;
    ensure(row.flags == 0 && row.items_read == 0, "flags")?;
    let sent = (row.items_sent, row.bytes_sent);
    let received = (row.items_received, row.bytes_received);
    let ((items, bytes), other) = match direction {
        ChannelDirection::Tx => (sent, received),
        ChannelDirection::Rx => (received, sent),
    };
    // Counters are single words that go on while the row is read.
    ensure(other == (0, 0) && items <= ITEMS, "items")?;
    let item_bytes = item_bytes(id);
    ensure(
        bytes.is_multiple_of(item_bytes) && bytes <= ITEMS * item_bytes,
        "bytes",
    )?;
    let budgets = (0..=ITEMS).map(|left| budget(id).wrapping_add(left));
    let is_known = budgets
        .into_iter()
        .any(|budget| budget == row.receive_budget_bytes);
    ensure(is_known, "budget")
}
