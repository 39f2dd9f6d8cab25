//! The atomics of the slot protocol: the standard library's, or with `--cfg loom` those of loom, which
//! tries every order in which threads may see what others wrote.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Declares a value that each thread has its own of, and that is dropped when the thread ends.
macro_rules! local {
    ($name:ident: $type:ty = $value:expr) => {
        #[cfg(loom)]
        loom::thread_local! { static $name: $type = $value; }
        #[cfg(not(loom))]
        std::thread_local! { static $name: $type = const { $value }; }
    };
}
pub(crate) use local;

/// Two four-byte fields of a record as the word that holds them. Atomic accesses of different sizes must not
/// meet, and a reader's are of eight bytes.
pub(crate) const fn pair(first: u32, second: u32) -> u64 {
    let (first, second) = (first as u64, second as u64);
    if cfg!(target_endian = "little") {
        first | second << 32
    } else {
        first << 32 | second
    }
}

/// The two fields of a [`pair`].
pub(crate) const fn unpair(word: u64) -> (u32, u32) {
    let (low, high) = (word as u32, (word >> 32) as u32);
    if cfg!(target_endian = "little") {
        (low, high)
    } else {
        (high, low)
    }
}

/// Replaces the one of two fields that `mask` selects.
pub(crate) fn replace_half(word: &AtomicU64, mask: u64, value: u64) {
    // Never fails: the closure always has a new value.
    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |both| {
        Some(both & !mask | value)
    });
}

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
