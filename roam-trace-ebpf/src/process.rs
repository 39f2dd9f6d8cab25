//! Which process an event belongs to, and what ends a process for the tracer:
//! the exit of its last thread, or an exec.
//!
//! Rows of a process that ended stay in the maps; the reader drops them by what
//! [`TARGETS`] says. Walking the maps here would hold up the exec. Armed processes are
//! the exception, see [`armed`](crate::armed).

use aya_ebpf::{
    Global,
    bindings::{BPF_NOEXIST, bpf_pidns_info},
    helpers::{bpf_get_current_pid_tgid, bpf_get_ns_current_pid_tgid, bpf_probe_read_kernel},
    macros::raw_tracepoint,
    programs::{ProbeContext, RawTracePointContext},
};
use aya_log_ebpf::info;
use roam_trace_common::event::{Loss, RecordKey, TargetEnd, TargetValue};

use crate::maps::{TARGETS, is_armed, lost, now_ns};

/// Device of the tracer's pid namespace file.
#[unsafe(no_mangle)]
static PID_NAMESPACE_DEV: Global<u64> = Global::new(0);

/// Inode of the tracer's pid namespace file, 0 when that is the initial namespace.
#[unsafe(no_mangle)]
static PID_NAMESPACE_INO: Global<u64> = Global::new(0);

/// Bytes from the start of `task_struct` to `signal`, from the kernel's own BTF.
#[unsafe(no_mangle)]
static TASK_SIGNAL_OFFSET: Global<u64> = Global::new(0);

/// Bytes from the start of `signal_struct` to `live`, from the kernel's own BTF.
#[unsafe(no_mangle)]
static SIGNAL_LIVE_OFFSET: Global<u64> = Global::new(0);

/// The current process as the tracer's pid namespace numbers it.
#[inline(always)]
pub(crate) fn current_tgid() -> Option<u32> {
    let inode = PID_NAMESPACE_INO.load();
    if inode == 0 {
        return Some((bpf_get_current_pid_tgid() >> 32) as u32);
    }
    let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: The helper writes at most the size it is told.
    let result = unsafe {
        bpf_get_ns_current_pid_tgid(
            PID_NAMESPACE_DEV.load(),
            inode,
            &raw mut ids,
            size_of::<bpf_pidns_info>() as u32,
        )
    };
    (result == 0).then_some(ids.tgid)
}

/// The entry of the current process, if it is traced and has not ended.
#[inline(always)]
fn current_target() -> Option<(u32, *mut TargetValue)> {
    let tgid = current_tgid()?;
    let target = TARGETS.get_ptr_mut(tgid)?;
    // SAFETY: Just looked up, and entries are never removed.
    (unsafe { (*target).ended_ns } == 0).then_some((tgid, target))
}

/// The current process, and its entry: in an armed set, the first event of a process makes it.
#[inline(always)]
fn probed_target() -> Option<(u32, *mut TargetValue)> {
    if !is_armed() {
        return current_target();
    }
    let tgid = current_tgid()?;
    if let Some(target) = TARGETS.get_ptr_mut(tgid) {
        return Some((tgid, target));
    }
    let target = TargetValue {
        began_ns: now_ns(),
        ..TargetValue::default()
    };
    // Another thread of the process may have made it meanwhile.
    let _ = TARGETS.insert(tgid, target, BPF_NOEXIST.into());
    let target = TARGETS.get_ptr_mut(tgid);
    if target.is_none() {
        lost(Loss::TargetInsert);
    }
    Some((tgid, target?))
}

/// The key of the record that a probe names in its first argument, and the entry of its process, which stays as
/// long as the process runs this program.
#[inline(always)]
pub(crate) fn record_key(ctx: &ProbeContext) -> Option<(RecordKey, *mut TargetValue)> {
    let (tgid, target) = probed_target()?;
    // SAFETY: Just looked up, and removed by nobody but the process itself at its end.
    if unsafe { (*target).seen } == 0 {
        // SAFETY: As above. Two threads may both get here; then the line is logged twice.
        unsafe { (*target).seen = 1 };
        log_first_event(ctx, tgid);
    }
    let key = RecordKey {
        serial: ctx.arg(0)?,
        tgid,
        reserved: 0,
    };
    Some((key, target))
}

/// Out of line, so that the probes' programs stay short, and with a name of its own: the compiler's
/// would contain a hash of the directory it was built in.
#[unsafe(no_mangle)]
#[inline(never)]
fn log_first_event(ctx: &ProbeContext, tgid: u32) {
    info!(ctx, "first event of process {}", tgid);
}

/// Notes that a process ended for the tracer.
#[inline(always)]
fn end(target: *mut TargetValue, how: TargetEnd) {
    // SAFETY: Looked up by the caller, and entries are never removed. `ended_ns` is
    // written last: whoever sees it sees how it ended as well.
    unsafe {
        (*target).end = how.code();
        (&raw mut (*target).ended_ns).write_volatile(now_ns());
    }
}

/// The process executes another program: its records are gone with the old one.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(ctx: RawTracePointContext) -> Option<()> {
    let (tgid, target) = current_target()?;
    end(target, TargetEnd::Exec);
    info!(&ctx, "process {} executed another program", tgid);
    Some(())
}

/// A thread exits. Only the last one of its group matters: the group's leader may
/// be gone long before.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(ctx: RawTracePointContext) -> Option<()> {
    let (tgid, target) = current_target()?;
    if live_threads(ctx.arg(0))? > 0 {
        return None;
    }
    end(target, TargetEnd::Exit);
    info!(&ctx, "process {} exited", tgid);
    Some(())
}

/// Threads of a task's group that have not begun to exit. The kernel counts the
/// exiting one down before it calls the tracepoint.
#[inline(always)]
pub(crate) fn live_threads(task: u64) -> Option<i32> {
    let signal = task.wrapping_add(TASK_SIGNAL_OFFSET.load()) as *const u64;
    // SAFETY: The helper checks the address and fails where it cannot read.
    let signal = unsafe { bpf_probe_read_kernel(signal) }.ok()?;
    let live = signal.wrapping_add(SIGNAL_LIVE_OFFSET.load()) as *const i32;
    // SAFETY: As above.
    unsafe { bpf_probe_read_kernel(live) }.ok()
}
