//! The maps, and what every program does with them.
//!
//! Hashes are preallocated; the loader sets their sizes. Never reads a probe's
//! arguments.

use core::arch::asm;

use aya_ebpf::{
    Global,
    bindings::BPF_F_NO_PREALLOC,
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use roam_trace_common::armed::{ExecutableValue, FileKey, SetValue};
use roam_trace_common::event::{
    ChannelValue, ConnectionValue, Loss, RecordKey, RequestValue, TargetValue, TrafficValue,
};

/// [`LiveMode`](roam_trace_common::event::LiveMode) code, 0 for none.
#[unsafe(no_mangle)]
static LIVE: Global<u32> = Global::new(0);

/// 1 in an armed set, whose probes are attached in every process of an executable.
#[unsafe(no_mangle)]
static ARMED: Global<u32> = Global::new(0);

/// Errno of a delete whose key is not in the map.
const ENOENT: i32 = -2;

/// Requests in flight.
#[map]
pub(crate) static REQUESTS: HashMap<RecordKey, RequestValue> = HashMap::with_max_entries(1, 0);

/// Open channels.
#[map]
pub(crate) static CHANNELS: HashMap<RecordKey, ChannelValue> = HashMap::with_max_entries(1, 0);

/// Open connections.
#[map]
pub(crate) static CONNECTIONS: HashMap<RecordKey, ConnectionValue> =
    HashMap::with_max_entries(1, 0);

/// Requests that started and ended, by connection.
#[map]
pub(crate) static TRAFFIC: HashMap<RecordKey, TrafficValue> = HashMap::with_max_entries(1, 0);

/// The traced processes by tgid. The loader fills it before it attaches anything; in an armed set, the
/// programs fill it.
#[map]
pub(crate) static TARGETS: HashMap<u32, TargetValue> = HashMap::with_max_entries(1, 0);

/// What went wrong, by [`Loss`] code.
#[map]
static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::ALL.len() as u32, 0);

/// One word: 1 once the loader has put in what began before it attached, so that
/// from then on an end without a row means that a row is missing.
#[map]
static SEEDED: Array<u32> = Array::with_max_entries(1, 0);

/// The armed executables. Only the loader reads and writes it.
#[map]
static EXECUTABLES: HashMap<FileKey, ExecutableValue> =
    HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// What the armed set is. Only the loader reads and writes it.
#[map]
static SET: Array<SetValue> = Array::with_max_entries(1, 0);

/// Whether the set is armed. The kernel drops the branches that are not taken when it loads a program.
#[inline(always)]
pub(crate) fn is_armed() -> bool {
    ARMED.load() != 0
}

/// The clock of every time in the maps: `CLOCK_MONOTONIC` of the initial time namespace.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: The helper only reads the clock.
    unsafe { bpf_ktime_get_ns() }
}

/// The [`LiveMode`](roam_trace_common::event::LiveMode) code, 0 for none. As with [`is_armed`], the kernel drops what
/// other modes need.
#[inline(always)]
pub(crate) fn live_mode() -> u32 {
    LIVE.load()
}

/// Whether what began before the tracer attached is in the maps.
#[inline(always)]
pub(crate) fn is_seeded() -> bool {
    SEEDED.get(0).is_some_and(|seeded| *seeded != 0)
}

/// Adds to a word that programs on other CPUs add to as well.
///
/// # Safety
///
/// `word` points to an aligned `u64` inside a map value that the caller looked
/// up in this program run.
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, amount: u64) {
    // SAFETY: The caller's promise; a map value outlives the program run. The compiler has
    // no `AtomicU64::fetch_add` for this target, which lacks compare-and-swap.
    unsafe {
        asm!(
            "lock *(u64 *)({word} + 0) += {amount}",
            word = in(reg) word,
            amount = in(reg) amount,
            options(nostack),
        );
    }
}

/// Counts a loss.
pub(crate) fn lost(loss: Loss) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss.code()) {
        // SAFETY: Just looked up. The add is atomic although the counter is this
        // CPU's own, since another program may run here while this one is preempted.
        unsafe { add(counter, 1) };
    }
}

/// Counts the beginning of a row in `rows`, the counter of its process, or else as `lost`.
#[inline(always)]
pub(crate) fn inserted(result: Result<(), i32>, rows: *mut u64, lost: Loss) {
    match result {
        // SAFETY: Part of the process's entry, which the caller looked up.
        Ok(()) if is_armed() => unsafe { add(rows, 1) },
        Ok(()) => {}
        Err(_) => self::lost(lost),
    }
}

/// Counts the end of a row in `rows`, the counter of its process, or else as `unmatched` if the map had none, or as
/// `failed` if the kernel could not remove it. Says whether it was removed.
#[inline(always)]
pub(crate) fn removed(
    result: Result<(), i32>,
    rows: *mut u64,
    unmatched: Loss,
    failed: Loss,
) -> bool {
    match result {
        // SAFETY: Part of the process's entry, which the caller looked up.
        Ok(()) if is_armed() => {
            unsafe { add(rows, 1_u64.wrapping_neg()) };
            true
        }
        Ok(()) => true,
        Err(ENOENT) => {
            if is_seeded() {
                lost(unmatched);
            }
            false
        }
        Err(_) => {
            lost(failed);
            false
        }
    }
}
