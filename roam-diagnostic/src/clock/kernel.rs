//! The kernel's clocks, through libc: rustix looks for the vDSO by itself, which ends a program under valgrind.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

pub(super) fn now_ns(clock: libc::clockid_t) -> u64 {
    let mut now = MaybeUninit::uninit();
    // SAFETY: the kernel fills in a `timespec`, and fails for an unknown clock only: those used here are as old as
    // Linux 2.6.32.
    let now = unsafe {
        libc::clock_gettime(clock, now.as_mut_ptr());
        now.assume_init()
    };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
