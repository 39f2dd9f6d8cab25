//! The processor's own counter: when it can be relied on, and how it is read.
#![allow(unsafe_code)]

mod calibration;

use std::fs;
use std::sync::OnceLock;

use calibration::{Calibration, Sample};

use super::kernel;

/// The kernel's names of the clock sources that count by this counter. It watches them, and chooses another one
/// where the counters of two processors differ.
#[cfg(target_arch = "x86_64")]
const SOURCES: &[&str] = &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page"];
#[cfg(target_arch = "aarch64")]
const SOURCES: &[&str] = &["arch_sys_counter"];

/// The precise clock, or `None` where the counter is of no use.
#[inline]
pub(super) fn now_ns() -> Option<u64> {
    static COUNTER: OnceLock<Option<Calibration>> = OnceLock::new();
    COUNTER
        .get_or_init(|| is_reliable().then(|| Calibration::new(&sample())))
        .as_ref()?
        .now_ns(read(), sample)
}

fn is_reliable() -> bool {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    is_constant() && fs::read_to_string(SOURCE).is_ok_and(|name| SOURCES.contains(&name.trim()))
}

/// Reads the counter and the kernel's clock at the same time.
fn sample() -> Sample {
    /// The two took no longer than this, so that nothing came between them.
    const UNDISTURBED_NS: u64 = 1_000;
    const ATTEMPTS: usize = 8;

    let attempt = || {
        let before = kernel::now_ns(libc::CLOCK_MONOTONIC);
        let counter = read();
        let gap_ns = kernel::now_ns(libc::CLOCK_MONOTONIC).saturating_sub(before);
        Sample {
            counter,
            ns: before + gap_ns / 2,
            gap_ns,
        }
    };
    let mut best = attempt();
    for _ in 1..ATTEMPTS {
        if best.gap_ns <= UNDISTURBED_NS {
            break;
        }
        let next = attempt();
        if next.gap_ns < best.gap_ns {
            best = next;
        }
    }
    best
}

/// Whether the counter runs at the same rate in every state of the processor.
#[cfg(target_arch = "x86_64")]
fn is_constant() -> bool {
    use std::arch::x86_64::__cpuid;

    const LARGEST: u32 = 0x8000_0000;
    const POWER: u32 = 0x8000_0007;
    const INVARIANT_TSC: u32 = 1 << 8;
    // SAFETY: every x86-64 processor has the instruction. Newer versions of Rust know.
    #[allow(unused_unsafe)]
    unsafe {
        __cpuid(LARGEST).eax >= POWER && __cpuid(POWER).edx & INVARIANT_TSC != 0
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn read() -> u64 {
    // SAFETY: every x86-64 processor has the instruction. Where the program forbade it (`PR_SET_TSC`), libc's clock
    // would end the program too.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The architecture demands it.
#[cfg(target_arch = "aarch64")]
fn is_constant() -> bool {
    true
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn read() -> u64 {
    let counter;
    // SAFETY: reads a register that Linux lets every program read.
    unsafe {
        std::arch::asm!("mrs {}, cntvct_el0", out(reg) counter, options(nomem, nostack, preserves_flags));
    }
    counter
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Without a counter there is nothing to compare: the test says so, and holds.
    #[test]
    fn the_counter_agrees_with_the_kernels_clock() {
        let deadline = Instant::now() + Duration::from_secs(3);
        let mut last_ns = 0;
        while Instant::now() < deadline {
            let before = sample_ns();
            let Some(now_ns) = now_ns() else {
                eprintln!("this machine has no reliable counter");
                return;
            };
            let after = sample_ns();
            assert!(before - 50_000 <= now_ns && now_ns <= after + 50_000);
            // A rename of a row, or its age, never goes back on this thread.
            assert!(last_ns <= now_ns, "{last_ns} after {now_ns}");
            last_ns = now_ns;
        }
    }

    fn sample_ns() -> u64 {
        kernel::now_ns(libc::CLOCK_MONOTONIC)
    }
}
