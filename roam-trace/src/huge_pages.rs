//! Huge pages behind large lists: a dump of a hundred thousand requests fills some 50 MB once and ends, and a third of
//! its time was that of page faults.
//!
//! Only where the kernel leaves it to the program (`madvise` in `/sys/kernel/mm/transparent_hugepage/enabled`, a default
//! of many distributions); otherwise nothing changes.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

use rustix::mm::{Advice, madvise};

/// The smallest huge pages of the supported processors.
const HUGE_PAGE: usize = 2 << 20;
/// Bytes of a list from which on it gets them. A smaller one is often filled in part, and its last huge page would not be.
const LARGE: usize = 5 * HUGE_PAGE;

/// The allocator of the system, with advice for what takes several huge pages.
pub struct HugePages;

impl HugePages {
    /// Advises huge pages between the first and the last boundary of one: a list that stays nearly empty takes none, and
    /// none is taken for the end of a list alone.
    fn advise(memory: *mut u8, bytes: usize) {
        if bytes < LARGE || memory.is_null() {
            return;
        }
        let before = memory.align_offset(HUGE_PAGE);
        let behind = (memory.addr() + bytes) % HUGE_PAGE;
        let start = memory.wrapping_add(before).cast();
        // SAFETY: the range is within the memory, and the advice changes neither what that holds nor who may use it.
        let advised = unsafe { madvise(start, bytes - before - behind, Advice::LinuxHugepage) };
        // A kernel without huge pages refuses. The memory has small ones then.
        let _ = advised;
    }
}

// SAFETY: every block is the system allocator's, with the layout that was asked for.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc(layout) };
        Self::advise(memory, layout.size());
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc_zeroed(layout) };
        Self::advise(memory, layout.size());
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}
