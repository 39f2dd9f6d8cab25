//! The atomics of the slot protocol: the standard library's, or with `--cfg loom` those of loom, which
//! tries every order in which threads may see what others wrote.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Stores a value in a word that other threads compare and swap.
///
/// A thread that swapped the value before this one for its own did so before the store: nothing comes between
/// the two halves of its swap. Loom does not conclude that, so there it is a swap too, which says so.
#[inline]
pub(crate) fn overwrite(word: &AtomicU64, value: u64) {
    #[cfg(loom)]
    word.swap(value, Ordering::Relaxed);
    #[cfg(not(loom))]
    word.store(value, Ordering::Relaxed);
}
