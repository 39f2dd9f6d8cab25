//! What a process knows of itself, written as it happens to files that survive it: its connections, and the calls
//! that it makes and serves. Independent of roam's own records, so that a dump can be compared with it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

/// Bits of a tag below the process id; a tag stays below 2^53, exact in any JSON reader.
const TAG_COUNTER_BITS: u32 = 28;
/// Calls that the log has room for. The record of one that has ended stays until its place is needed.
const PLACES: u64 = 8_192;
/// Bytes of a record.
const RECORD: usize = 256;

/// A connection, when it opens and when it closes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConnectionLine {
    /// Its name in dumps.
    pub(crate) name: String,
    pub(crate) open: bool,
    pub(crate) initiator: bool,
    pub(crate) via: &'static str,
    pub(crate) descriptor: i32,
    pub(crate) inode: u64,
    /// Address or path; none for an unnamed end.
    pub(crate) local: Option<String>,
    pub(crate) remote: Option<String>,
    /// What the other end said of itself.
    pub(crate) peer_pid: u32,
    pub(crate) peer_inode: u64,
    pub(crate) peer_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallState {
    Running,
    Answered,
    /// The caller dropped its future, or the handler was dropped.
    Dropped,
    Panicked,
}

/// Calls of one method that ended, by this process's own count.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Count {
    pub(crate) answered: u64,
    pub(crate) dropped: u64,
    /// Milliseconds of the answered ones, the middle and the 99th of a hundred.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

#[derive(Default)]
struct Counted {
    dropped: u64,
    took_us: Vec<u32>,
}

pub(crate) struct Witness {
    pub(crate) pid: u32,
    tags: AtomicU64,
    calls: File,
    connections: Mutex<File>,
    /// Places of the log, the one that has been free for longest first.
    free: Mutex<VecDeque<u64>>,
    counts: Mutex<BTreeMap<(bool, &'static str), Counted>>,
}

impl Witness {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let pid = std::process::id();
        let create = |what: &str| {
            let path = directory.join(format!("{pid}.{what}"));
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))
        };
        Ok(Self {
            pid,
            tags: AtomicU64::new(1),
            calls: create("calls")?,
            connections: Mutex::new(create("connections")?),
            free: Mutex::new((0..PLACES).collect()),
            counts: Mutex::default(),
        })
    }

    /// Writes a line about a connection.
    pub(crate) fn connection(&self, line: &ConnectionLine) {
        let mut bytes = serde_json::to_vec(line).expect("a line has string keys only");
        bytes.push(b'\n');
        // One write per line, so that a reader never sees half of one. A log that cannot be written makes a
        // comparison fail, which is where it is noticed.
        let _ = lock(&self.connections).write_all(&bytes);
    }

    /// A name for a call of this process.
    pub(crate) fn tag(&self) -> u64 {
        let call = self.tags.fetch_add(1, Ordering::Relaxed);
        u64::from(self.pid) << TAG_COUNTER_BITS | call & ((1 << TAG_COUNTER_BITS) - 1)
    }

    /// Logs the start of a call; what is returned logs its end.
    pub(crate) fn start(&self, call: Call) -> Running<'_> {
        let running = Running {
            witness: self,
            place: lock(&self.free).pop_front(),
            call,
            began: Instant::now(),
            state: CallState::Running,
        };
        running.write();
        running
    }

    /// Calls that ended, by direction and method.
    pub(crate) fn counts(&self) -> Vec<(bool, &'static str, Count)> {
        let counts = lock(&self.counts);
        let each = counts.iter().map(|(&(incoming, method), counted)| {
            let mut sorted = counted.took_us.clone();
            sorted.sort_unstable();
            let at = |hundredth: usize| {
                let index = (sorted.len() * hundredth).div_ceil(100).saturating_sub(1);
                sorted.get(index).map_or(0.0, |&us| f64::from(us) / 1e3)
            };
            let count = Count {
                answered: sorted.len() as u64,
                dropped: counted.dropped,
                p50_ms: at(50),
                p99_ms: at(99),
            };
            (incoming, method, count)
        });
        each.collect()
    }
}

/// A call that starts. A record of the log has this and the state, with tabs between them.
pub(crate) struct Call {
    pub(crate) tag: u64,
    pub(crate) incoming: bool,
    pub(crate) method: &'static str,
    pub(crate) connection: String,
    /// The id on the wire, which only the callee can know.
    pub(crate) request_id: Option<u64>,
    /// Tag of the call whose handler made this one.
    pub(crate) parent: u64,
}

/// A call that is logged as running until this is dropped.
pub(crate) struct Running<'a> {
    witness: &'a Witness,
    place: Option<u64>,
    call: Call,
    began: Instant,
    state: CallState,
}

impl Running<'_> {
    pub(crate) fn answered(mut self) {
        self.state = CallState::Answered;
    }

    fn write(&self) {
        let Some(place) = self.place else { return };
        let Call {
            tag,
            incoming,
            method,
            connection,
            request_id,
            parent,
        } = &self.call;
        let record = format!(
            "{tag}\t{incoming}\t{method}\t{connection}\t{}\t{parent}\t{:?}\t",
            request_id.unwrap_or(0),
            self.state
        );
        let mut bytes = record.into_bytes();
        bytes.resize(RECORD, b' ');
        bytes[RECORD - 1] = b'\n';
        let _ = self
            .witness
            .calls
            .write_all_at(&bytes, place * RECORD as u64);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.state == CallState::Running {
            self.state = match std::thread::panicking() {
                true => CallState::Panicked,
                false => CallState::Dropped,
            };
        }
        self.write();
        let key = (self.call.incoming, self.call.method);
        let mut counts = lock(&self.witness.counts);
        let counted = counts.entry(key).or_default();
        match self.state {
            CallState::Answered => {
                let took = self.began.elapsed().as_micros();
                counted.took_us.push(took.try_into().unwrap_or(u32::MAX));
            }
            _ => counted.dropped += 1,
        }
        // The place of a handler that panicked is never used again: its caller waits for ever.
        if let Some(place) = self.place
            && self.state != CallState::Panicked
        {
            lock(&self.witness.free).push_back(place);
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
