//! The clock of every time in the registry.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;

/// Returns `CLOCK_MONOTONIC` in nanoseconds, as of the last timer tick (1 to 10 ms ago,
/// by the kernel's `CONFIG_HZ`).
///
/// The precise clock costs 23 ns a call here, the coarse one 4 ns, and a
/// request reads it four times. Coarse times of different threads and processes
/// still compare: the kernel keeps one value for all. It is read through libc:
/// rustix looks for the vDSO by itself, which ends a program under valgrind.
pub fn now_ns() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let mut now = MaybeUninit::uninit();
        // SAFETY: the kernel fills in a `timespec`, and fails for an unknown clock only: this one is as
        // old as Linux 2.6.32.
        let now = unsafe {
            libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, now.as_mut_ptr());
            now.assume_init()
        };
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}
