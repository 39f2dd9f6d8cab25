//! What live views read: a ring buffer of events, and the buckets of histograms. Owns these maps and the filters in
//! front of them.
//!
//! Nothing is reported before the maps are seeded: until then, a request may have no row only because the loader has
//! not put it in yet.

use aya_ebpf::{
    Global,
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_get_smp_processor_id,
    macros::map,
    maps::{HashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use roam_trace_common::event::{
    BucketKey, ChannelValue, EventKind, EventRecord, LiveCount, LiveMode, MethodKey, Outcome,
    RecordKey, RequestKind, RequestValue,
};
use roam_trace_common::latency::{bucket_of, units_of_ns};
use roam_trace_common::limits::EVENT_WAKE_BYTES;

use crate::maps::{REQUESTS, add, is_seeded, live_mode, now_ns};

/// Latency from which on an end is reported.
#[unsafe(no_mangle)]
static MIN_LATENCY_NS: Global<u64> = Global::new(0);

/// The outcomes that are reported, a bit for each code; 0 for all.
#[unsafe(no_mangle)]
static OUTCOMES: Global<u32> = Global::new(0);

/// The direction that is reported, its code; 0 for both.
#[unsafe(no_mangle)]
static DIRECTION: Global<u32> = Global::new(0);

/// Whether only some methods are reported.
#[unsafe(no_mangle)]
static FILTERS_METHODS: Global<u32> = Global::new(0);

/// The events.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1, 0);

/// Whether a method is reported, 1 or 0. The loader decides about those that are not in it when it sees their events.
#[map]
static FILTER: HashMap<MethodKey, u32> = HashMap::with_max_entries(1, 0);

/// The buckets of histograms that have a call in them.
#[map]
static HISTOGRAMS: PerCpuHashMap<BucketKey, u64> = PerCpuHashMap::with_max_entries(1, 0);

/// By [`LiveCount`] code.
#[map]
static LIVE_COUNTS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(LiveCount::ALL.len() as u32, 0);

/// Whether ends are reported or counted.
#[inline(always)]
pub(crate) fn is_live() -> bool {
    live_mode() != 0
}

/// Whether every event is reported.
#[inline(always)]
pub(crate) fn reports_all() -> bool {
    live_mode() == LiveMode::All.code()
}

/// Reports a start or a phase. `row` is that of the request.
#[inline(always)]
pub(crate) fn request_event(kind: EventKind, key: RecordKey, row: &RequestValue, time_ns: u64) {
    if reports_all() && is_seeded() && is_wanted(key.tgid, row) {
        report(&EventRecord {
            time_ns,
            code: row.phase,
            ..of_request(kind, key, row)
        });
    }
}

/// Reports the end of a request, or counts it. `row` is the one that it had.
#[inline(always)]
pub(crate) fn request_ended(
    key: RecordKey,
    row: Option<&RequestValue>,
    outcome: u32,
    response_bytes: u64,
) {
    if !is_live() || !is_seeded() {
        return;
    }
    let now_ns = now_ns();
    if live_mode() == LiveMode::Histogram.code() {
        match row {
            Some(row) => count_latency(key.tgid, row, outcome, now_ns),
            None => count(LiveCount::Unknown),
        }
        return;
    }
    if OUTCOMES.load() != 0 && OUTCOMES.load() & 1_u32.wrapping_shl(outcome) == 0 {
        return;
    }
    let Some(row) = row else {
        match DIRECTION.load() != 0 || FILTERS_METHODS.load() != 0 || MIN_LATENCY_NS.load() != 0 {
            true => count(LiveCount::Unknown),
            false => report(&EventRecord {
                time_ns: now_ns,
                request: key.serial,
                response_bytes,
                tgid: key.tgid,
                kind: EventKind::RequestEnd.code(),
                code: outcome,
                ..EventRecord::default()
            }),
        }
        return;
    };
    if now_ns.saturating_sub(row.started_ns) < MIN_LATENCY_NS.load() || !is_wanted(key.tgid, row) {
        return;
    }
    report(&EventRecord {
        time_ns: now_ns,
        response_bytes,
        code: outcome,
        ..of_request(EventKind::RequestEnd, key, row)
    });
}

/// Reports an event of a channel, whose row is `channel`. Method and direction are those of its request, as long as
/// that is in flight.
#[inline(always)]
pub(crate) fn channel_event(kind: EventKind, key: RecordKey, channel: &ChannelValue, bytes: u64) {
    if !reports_all() || !is_seeded() {
        return;
    }
    let request_key = RecordKey {
        serial: channel.request,
        ..key
    };
    // SAFETY: Words are copied, and who reads them knows that they may be those of another request by now.
    let (method_id, direction) =
        unsafe { REQUESTS.get(request_key) }.map_or((0, 0), |row| (row.method_id, row.direction));
    if !passes(key.tgid, method_id, direction) {
        return;
    }
    report(&EventRecord {
        time_ns: now_ns(),
        request: channel.request,
        channel: key.serial,
        connection: channel.connection,
        wire_id: channel.channel_id,
        method_id,
        request_bytes: bytes,
        tgid: key.tgid,
        kind: kind.code(),
        code: channel.direction,
        direction,
        ..EventRecord::default()
    });
}

/// What every event of a request has.
#[inline(always)]
fn of_request(kind: EventKind, key: RecordKey, row: &RequestValue) -> EventRecord {
    EventRecord {
        request: key.serial,
        connection: row.connection,
        wire_id: row.request_id,
        method_id: row.method_id,
        started_ns: row.started_ns,
        request_bytes: row.request_bytes,
        response_bytes: row.response_bytes,
        tgid: key.tgid,
        kind: kind.code(),
        direction: row.direction,
        request_kind: row.kind,
        ..EventRecord::default()
    }
}

#[inline(always)]
fn is_wanted(tgid: u32, row: &RequestValue) -> bool {
    passes(tgid, row.method_id, row.direction)
}

/// Whether the filters let a method in a direction pass, which is 0 where both are unknown.
#[inline(always)]
fn passes(tgid: u32, method_id: u64, direction: u32) -> bool {
    if DIRECTION.load() != 0 && DIRECTION.load() != direction {
        return false;
    }
    if FILTERS_METHODS.load() == 0 {
        return true;
    }
    let key = MethodKey {
        method_id,
        tgid,
        reserved: 0,
    };
    // SAFETY: Only a word is copied.
    direction != 0 && unsafe { FILTER.get(key) }.is_none_or(|passes| *passes != 0)
}

/// Puts an event into the ring buffer. Its reader is woken each time that so many bytes more are queued, since to wake
/// it takes longer than all the rest.
#[inline(always)]
fn report(event: &EventRecord) {
    let Some(mut entry) = EVENTS.reserve::<EventRecord>(0) else {
        count(LiveCount::Lost);
        return;
    };
    entry.write(EventRecord {
        // SAFETY: The helper only reads a number.
        cpu: unsafe { bpf_get_smp_processor_id() },
        lost: LIVE_COUNTS
            .get(LiveCount::Lost.code())
            .copied()
            .unwrap_or(0),
        ..*event
    });
    let queued = EVENTS.query(BPF_RB_AVAIL_DATA.into());
    let entry_bytes = size_of::<EventRecord>() as u64 + ENTRY_HEADER_BYTES;
    let wakes = queued >= WAKE_BYTES && queued % WAKE_BYTES < entry_bytes;
    entry.submit(match wakes {
        true => BPF_RB_FORCE_WAKEUP.into(),
        false => BPF_RB_NO_WAKEUP.into(),
    });
}

/// What the kernel puts in front of every entry.
const ENTRY_HEADER_BYTES: u64 = 8;
const WAKE_BYTES: u64 = EVENT_WAKE_BYTES as u64;

/// Counts a call that was answered, as the statistics of the registry do.
#[inline(always)]
fn count_latency(tgid: u32, row: &RequestValue, outcome: u32, now_ns: u64) {
    let is_answered = outcome == Outcome::Ok.code() || outcome == Outcome::UserError.code();
    if !is_answered || row.kind != RequestKind::Call.code() {
        return;
    }
    let latency_ns = now_ns.saturating_sub(row.started_ns);
    let key = BucketKey {
        method_id: row.method_id,
        tgid,
        direction: row.direction,
        bucket: bucket_of(units_of_ns(latency_ns)) as u32,
        reserved: 0,
    };
    if HISTOGRAMS.get_ptr_mut(key).is_none() {
        // Another CPU may have been first.
        let _ = HISTOGRAMS.insert(key, 0, BPF_NOEXIST.into());
    }
    match HISTOGRAMS.get_ptr_mut(key) {
        // SAFETY: Just looked up, and never removed.
        Some(calls) => unsafe { add(calls, 1) },
        None => count(LiveCount::Lost),
    }
}

fn count(what: LiveCount) {
    if let Some(counter) = LIVE_COUNTS.get_ptr_mut(what.code()) {
        // SAFETY: Just looked up. The add is atomic although the counter is this CPU's own, since another program may
        // run here while this one is preempted.
        unsafe { add(counter, 1) };
    }
}
