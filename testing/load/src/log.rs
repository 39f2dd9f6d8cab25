//! The log of a load, with the commands to it: a file that the program and its observers map. It survives a
//! killed program and needs no descriptor.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use roam_trace_common::latency::BUCKETS;

/// Threads that a load may have.
pub const MAX_THREADS: usize = 16;

/// Index of the entry that all short-lived threads share.
pub const STORM: usize = MAX_THREADS - 1;

/// The whole file.
#[derive(Debug)]
#[repr(C)]
pub struct Log {
    /// The program's pid in its own namespace, 0 until it is ready.
    pub pid: AtomicU32,
    /// Threads that make requests.
    pub threads: AtomicU32,
    /// The load runs while it is odd.
    pub turn: AtomicU32,
    /// How many acts the program is to perform.
    pub act: AtomicU32,
    /// How many it has performed.
    pub acted: AtomicU32,
    /// Whether the program is to end.
    pub quit: AtomicU32,
    /// Rounds in which a forked child passed every probe.
    pub child_rounds: AtomicU64,
    /// By thread.
    pub by_thread: [ThreadLog; MAX_THREADS],
}

/// The counters of one thread. Each event is counted before it begins and after it is done, so the counts of
/// a killed thread are exact to one event.
#[derive(Debug)]
#[repr(C)]
pub struct ThreadLog {
    /// The turn in which the thread last paused.
    pub paused: AtomicU32,
    reserved: AtomicU32,
    /// Requests whose start begins.
    pub start_begun: AtomicU64,
    /// Requests that have started.
    pub start_done: AtomicU64,
    /// Requests whose end begins.
    pub end_begun: AtomicU64,
    /// Requests that have ended.
    pub end_done: AtomicU64,
    /// Sum of the requests' results.
    pub result: AtomicU64,
    /// The requests that ended, by the bucket of their latency, where that is measured.
    pub latencies: [AtomicU64; BUCKETS],
}

/// Bounds for the number of requests that started or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// At least: those that were done.
    pub done: u64,
    /// At most: those that were begun.
    pub begun: u64,
}

impl Count {
    /// Whether `seen` is within the bounds.
    pub fn allows(self, seen: u64) -> bool {
        (self.done..=self.begun).contains(&seen)
    }
}

impl Log {
    /// Maps the file, made if there is none, for as long as this process runs.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<&'static Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.set_len(size_of::<Self>() as u64)?;
        // SAFETY: a fresh mapping at an address that the kernel chooses, which is never unmapped.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Self>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: page-aligned, as large as the log, and all that is in it are atomics.
        Ok(unsafe { &*mapped.cast::<Self>() })
    }

    /// Resumes the load.
    pub fn run(&self) {
        self.turn.fetch_or(1, Ordering::AcqRel);
    }

    /// Pauses the load, which takes effect when [`Self::is_paused`] returns true.
    pub fn pause(&self) {
        let turn = self.turn.load(Ordering::Acquire);
        self.turn.store(turn + turn % 2, Ordering::Release);
    }

    /// Whether every thread has seen that it is to pause, and has ended what it did.
    pub fn is_paused(&self) -> bool {
        let turn = self.turn.load(Ordering::Acquire);
        turn.is_multiple_of(2)
            && self
                .by_thread
                .iter()
                .take(self.threads.load(Ordering::Acquire) as usize)
                .all(|thread| thread.paused.load(Ordering::Acquire) == turn)
    }

    /// Requests that started.
    pub fn started(&self) -> Count {
        self.count(
            |thread| thread.start_done.load(Ordering::Acquire),
            |thread| thread.start_begun.load(Ordering::Acquire),
        )
    }

    /// Requests that ended.
    pub fn ended(&self) -> Count {
        self.count(
            |thread| thread.end_done.load(Ordering::Acquire),
            |thread| thread.end_begun.load(Ordering::Acquire),
        )
    }

    /// Requests that ended, by the bucket of their latency.
    pub fn latencies(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|bucket| {
            let threads = self.by_thread.iter();
            let counts = threads.map(|thread| thread.latencies[bucket].load(Ordering::Acquire));
            counts.sum()
        })
    }

    fn count(&self, done: fn(&ThreadLog) -> u64, begun: fn(&ThreadLog) -> u64) -> Count {
        let sum = |of: fn(&ThreadLog) -> u64| self.by_thread.iter().map(of).sum();
        Count {
            done: sum(done),
            begun: sum(begun),
        }
    }

    /// Whether the requests' results are those of an untraced load. Valid while the load is paused, or after it
    /// was killed: then each thread may lack its last result.
    pub fn results_are_right(&self) -> bool {
        let may_lack = u64::from(!self.is_paused());
        self.by_thread.iter().enumerate().all(|(thread, log)| {
            let ended = log.end_done.load(Ordering::Acquire);
            let result = log.result.load(Ordering::Acquire);
            (ended.saturating_sub(may_lack)..=ended)
                .any(|requests| result == sum_of_results(thread, requests))
        })
    }
}

/// The id of a thread's request of that number.
pub(crate) fn request_id(thread: usize, number: u64) -> u64 {
    (thread as u64) << 32 | number
}

fn sum_of_results(thread: usize, requests: u64) -> u64 {
    (0..requests)
        .map(|number| (0..STEPS).fold(request_id(thread, number), |value, _| mix(value)))
        .fold(0, u64::wrapping_add)
}

/// Steps of a request's work, with probes in between.
pub(crate) const STEPS: u32 = 4;

/// One step: a value that shows if anything was lost on the way (the finalizer of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
