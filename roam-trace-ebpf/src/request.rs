//! Requests: a row from its start to its end, its phase in between, and the
//! traffic of its connection.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    macros::uprobe,
    programs::ProbeContext,
};
use roam_trace_common::event::{
    EventKind, Loss, RecordKey, RequestValue, TrafficValue, unpack_request,
};

use crate::{
    live::{is_live, request_ended, request_event},
    maps::{REQUESTS, TRAFFIC, add, inserted, is_armed, lost, now_ns, removed},
    process::record_key,
};

#[uprobe]
fn request_start(ctx: ProbeContext) -> Option<()> {
    let (key, target) = record_key(&ctx)?;
    let now = now_ns();
    let (direction, phase, kind) = unpack_request(ctx.arg(4)?);
    let value = RequestValue {
        connection: ctx.arg(1)?,
        request_id: ctx.arg(2)?,
        method_id: ctx.arg(3)?,
        started_ns: now,
        phase_ns: now,
        request_bytes: ctx.arg(5)?,
        response_bytes: 0,
        parent: seventh_argument(&ctx)?,
        direction,
        phase,
        kind,
        mark: 0,
        seen: 1,
        reserved: 0,
    };
    // A row of this serial can only be one that was seeded from the registry a moment
    // ago; what the probe says is as good.
    inserted(
        REQUESTS.insert(key, value, BPF_ANY.into()),
        // SAFETY: No more than the address.
        unsafe { &raw mut (*target).requests },
        Loss::RequestInsert,
    );
    request_event(EventKind::RequestStart, key, &value, now);
    if !counts_traffic() {
        return Some(());
    }
    match traffic(key.tgid, value.connection) {
        // SAFETY: `traffic` looked it up in this run.
        Some(traffic) => unsafe { add(&raw mut (*traffic).started, 1) },
        None => lost(Loss::TrafficInsert),
    }
    Some(())
}

/// The C calling convention of x86-64 passes six arguments in registers. Ours has one more, in `rax`.
#[cfg(bpf_target_arch = "x86_64")]
fn seventh_argument(ctx: &ProbeContext) -> Option<u64> {
    // SAFETY: The kernel passes the registers of the probed thread.
    Some(unsafe { (*ctx.regs).rax })
}

#[cfg(not(bpf_target_arch = "x86_64"))]
fn seventh_argument(ctx: &ProbeContext) -> Option<u64> {
    ctx.arg(6)
}

/// Changes the row in place. The map is preallocated, so if the request ends on another
/// CPU between lookup and write, the write goes to whatever took the slot meanwhile. The
/// comparison with the row's own phase leaves a few instructions for that to happen in;
/// replacing the row instead would cost every event a copy and a lock.
#[uprobe]
fn request_phase(ctx: ProbeContext) -> Option<()> {
    let (key, _) = record_key(&ctx)?;
    let phase = ctx.arg::<u64>(1)? as u32;
    let mark = ctx.arg::<u64>(2)? as u32;
    let response_bytes = ctx.arg::<u64>(3)?;
    let row = REQUESTS.get_ptr_mut(key)?;
    // SAFETY: Just looked up; the writes stay inside the value.
    unsafe {
        // Threads that report phases of one request may get here in either order.
        let is_next = phase > (*row).phase;
        if is_next {
            (*row).phase_ns = now_ns();
            (*row).phase = phase;
        }
        if mark != 0 {
            (*row).mark = mark;
        }
        if response_bytes != 0 {
            (*row).response_bytes = response_bytes;
        }
        (*row).seen = 1;
        if is_next {
            request_event(EventKind::RequestPhase, key, &*row, (*row).phase_ns);
        }
    }
    Some(())
}

#[uprobe]
fn request_end(ctx: ProbeContext) -> Option<()> {
    let (key, target) = record_key(&ctx)?;
    if is_live() {
        // SAFETY: The row is copied while it is in the map.
        let row = unsafe { REQUESTS.get(key) }.copied();
        let outcome = ctx.arg::<u64>(1)? as u32;
        request_ended(key, row.as_ref(), outcome, ctx.arg(2)?);
    }
    let connection = match counts_traffic() {
        // SAFETY: Only a word is copied, and it is not used unless the row was still there.
        true => unsafe { REQUESTS.get(key) }.map(|row| row.connection),
        false => None,
    };
    let was_there = removed(
        REQUESTS.remove(key),
        // SAFETY: No more than the address.
        unsafe { &raw mut (*target).requests },
        Loss::RequestUnmatched,
        Loss::RequestDelete,
    );
    if let (true, Some(connection)) = (was_there, connection) {
        match traffic(key.tgid, connection) {
            // SAFETY: `traffic` looked it up in this run.
            Some(traffic) => unsafe { add(&raw mut (*traffic).ended, 1) },
            None => lost(Loss::TrafficInsert),
        }
    }
    Some(())
}

/// Whether traffic is counted by connection. An armed set has no window to count in, and its connections come and go for
/// as long as it is armed; nobody asks for it live.
#[inline(always)]
fn counts_traffic() -> bool {
    !is_armed() && !is_live()
}

/// The traffic row of a connection, made if there is none. `None`: the map is full.
#[inline(always)]
fn traffic(tgid: u32, connection: u64) -> Option<*mut TrafficValue> {
    let key = RecordKey {
        serial: connection,
        tgid,
        reserved: 0,
    };
    if let Some(traffic) = TRAFFIC.get_ptr_mut(key) {
        return Some(traffic);
    }
    let empty = TrafficValue {
        started: 0,
        ended: 0,
    };
    // Another CPU may have been first: then this fails, and the lookup finds its row.
    let _ = TRAFFIC.insert(key, empty, BPF_NOEXIST.into());
    TRAFFIC.get_ptr_mut(key)
}
