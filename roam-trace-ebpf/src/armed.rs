//! Armed processes: when one ends, or executes another program, its rows are taken out of the maps. Nobody
//! else would do that, and its pid will be that of another process.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_for_each_map_elem, bpf_map_delete_elem},
    macros::raw_tracepoint,
    maps::HashMap,
    programs::RawTracePointContext,
};
use roam_trace_common::event::{RecordKey, TargetValue};

use crate::{
    maps::{CHANNELS, CONNECTIONS, REQUESTS, TARGETS},
    process::{current_tgid, live_threads},
};

/// An armed process executes another program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn armed_exec(_: RawTracePointContext) -> Option<()> {
    let (tgid, target) = current_armed()?;
    remove(tgid, target);
    Some(())
}

/// A thread exits. Only the last one of its group matters.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn armed_exit(ctx: RawTracePointContext) -> Option<()> {
    let (tgid, target) = current_armed()?;
    if live_threads(ctx.arg(0))? > 0 {
        return None;
    }
    remove(tgid, target);
    Some(())
}

/// The entry of the current process, if it has reported an event.
#[inline(always)]
fn current_armed() -> Option<(u32, *mut TargetValue)> {
    let tgid = current_tgid()?;
    Some((tgid, TARGETS.get_ptr_mut(tgid)?))
}

/// Removes the rows of a process, and its entry last: without it, a reader ignores rows.
#[inline(always)]
fn remove(tgid: u32, target: *mut TargetValue) {
    // SAFETY: Just looked up. No other thread of the process runs any more.
    let (requests, channels, connections) = unsafe {
        (
            (*target).requests,
            (*target).channels,
            (*target).connections,
        )
    };
    if requests != 0 {
        remove_rows(&REQUESTS, tgid);
    }
    if channels != 0 {
        remove_rows(&CHANNELS, tgid);
    }
    if connections != 0 {
        remove_rows(&CONNECTIONS, tgid);
    }
    let _ = TARGETS.remove(tgid);
}

/// Walks a whole map: the kernel has no index by process.
#[inline(always)]
fn remove_rows<V>(map: &HashMap<RecordKey, V>, mut tgid: u32) {
    // SAFETY: A map begins with what the loader replaces by its address. The callback takes what the helper passes
    // for a map with such keys, and the context outlives the walk.
    unsafe {
        bpf_for_each_map_elem(
            core::ptr::from_ref(map).cast_mut().cast(),
            remove_row as *mut c_void,
            (&raw mut tgid).cast(),
            0,
        );
    }
}

/// Removes a row if its process is the one in the context. Its name is not the compiler's, which would contain a hash
/// of the directory it was built in.
#[unsafe(no_mangle)]
unsafe extern "C" fn remove_row(
    map: *mut c_void,
    key: *const RecordKey,
    _value: *mut c_void,
    tgid: *const u32,
) -> u64 {
    // SAFETY: What the helper passes; see `remove_rows`.
    unsafe {
        if (*key).tgid == *tgid {
            bpf_map_delete_elem(map, key.cast());
        }
    }
    0
}
