//! The clock of every time in the registry: `CLOCK_MONOTONIC` in nanoseconds.
//!
//! The kernel's precise clock takes 20 to 40 ns, and a call reads it twice. The processor's own counter takes a
//! third of that. Where it cannot be relied on, there is the kernel's coarse clock, which is as cheap and 1 to
//! 10 ms late.

#[cfg_attr(
    any(
        not(all(
            target_os = "linux",
            any(target_arch = "x86_64", target_arch = "aarch64")
        )),
        miri,
        loom
    ),
    path = "clock/no_counter.rs"
)]
mod counter;

#[cfg(target_os = "linux")]
mod kernel;

use std::sync::OnceLock;

static ON_COARSE: OnceLock<fn()> = OnceLock::new();

/// Has `act` called whenever a time is read from the coarse clock. Only the first call counts.
pub(crate) fn on_coarse(act: fn()) {
    ON_COARSE.get_or_init(|| act);
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds, within 50 us; or, if the processor has no counter to rely on, as of the
/// last timer tick (1 to 10 ms ago, by the kernel's `CONFIG_HZ`).
///
/// Times of different threads and processes compare. 0 on other systems than Linux.
#[inline]
pub fn now_ns() -> u64 {
    counter::now_ns().unwrap_or_else(coarse_ns)
}

#[cold]
fn coarse_ns() -> u64 {
    if let Some(act) = ON_COARSE.get() {
        act();
    }
    #[cfg(target_os = "linux")]
    {
        kernel::now_ns(libc::CLOCK_MONOTONIC_COARSE)
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}
