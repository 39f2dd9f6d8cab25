//! The slot protocol under every order in which threads may see each other's writes.
//!
//! `RUSTFLAGS='--cfg loom' cargo test --package roam-diagnostic --lib model`

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::mem::offset_of;
use std::sync::{Arc, Mutex};

use loom::model::Builder;
use loom::thread;
use roam_dump::read::model::rows;
use roam_dump::read::{RegionMemory, Row};
use roam_trace_common::registry::{PhaseWord, RequestRecord, ResponseWord, StatisticsRecord};
use zerocopy::{FromBytes, IntoBytes};

use super::cells::{Cells, RequestCell};
use super::*;
use crate::statistics::EndedCall;
use crate::{slab, statistics};

/// Involuntary switches between threads that are tried; what they may see of each other's writes is tried
/// in full.
const SWITCHES: usize = 3;

fn check(switches: usize, events: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(events);
}

/// A thread that gives back what it has of its own before it is joined.
fn spawn<T: 'static>(act: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(|| {
        let result = act();
        slab::end_thread();
        cells::end_thread();
        statistics::end_thread();
        result
    })
}

/// A row that is small enough for every value of every word to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes)]
#[repr(C)]
struct ModelRecord {
    sequence: u64,
    serial: u64,
    content: u64,
}

impl Record for ModelRecord {
    const TABLE: Table = Table::Channels;
    const SEQUENCE: usize = offset_of!(ModelRecord, sequence);
    const SERIAL: usize = offset_of!(ModelRecord, serial);

    fn slab(registry: &Registry) -> &Slab {
        &registry.channels
    }
}

impl Row for ModelRecord {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn serial(&self) -> u64 {
        self.serial
    }
}

fn claim(content: u64) -> Serial {
    registry()
        .unwrap()
        .claim::<ModelRecord>(|slot, _| {
            slot.u64(offset_of!(ModelRecord, content))
                .store(content, Ordering::Relaxed);
        })
        .unwrap()
}

fn release(serial: Serial) -> bool {
    registry()
        .unwrap()
        .release::<ModelRecord, _>(serial, live_sequence(serial), |slot| {
            slot.u64(offset_of!(ModelRecord, content))
                .store(0, Ordering::Relaxed);
        })
        .is_some()
}

/// The one slot of the model's table, read by another process: each read sees what was written before
/// what the read before it saw, and nothing else is certain.
#[derive(Default)]
struct Outside(Cell<usize>);

impl RegionMemory for Outside {
    fn bytes(&self) -> io::Result<u64> {
        Ok(size_of::<ModelRecord>() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let slot = registry().unwrap().slots::<ModelRecord>().get(0).unwrap();
        // Of the passes before and after a row the reader uses the sequence alone.
        let is_row = self.0.replace(self.0.get() + 1) % 3 == 1;
        for (index, word) in buffer.chunks_exact_mut(8).enumerate() {
            let at = offset as usize + index * 8;
            if is_row || at == ModelRecord::SEQUENCE {
                let value = slot.u64(at).load(Ordering::Relaxed);
                word.copy_from_slice(&value.to_ne_bytes());
            }
        }
        // A system call that takes and gives back a reference to a page is one.
        fence(Ordering::Acquire);
        Ok(buffer.len())
    }
}

#[test]
fn a_reader_sees_rows_that_were_written_while_their_slot_is_used_again() {
    // Beyond loom's sight: what was seen in any of the orders.
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let seen_in_all = Arc::clone(&seen);
    check(1, move || {
        // Made before the threads, which would else wait for each other outside of loom.
        registry();
        let seen = Arc::clone(&seen);
        let reader = spawn(move || {
            let rows = rows::<ModelRecord>(&Outside::default(), Table::Channels, 1);
            seen.lock().unwrap().insert(rows);
        });
        // The writer is the thread that runs first: loom lets the reader see what has been overwritten
        // since, but does not always go back to have it read before.
        let first = claim(10);
        assert!(release(first));
        assert_eq!(claim(20).slot(), first.slot());
        reader.join().unwrap();
    });
    let row = |generation, content| {
        vec![ModelRecord {
            sequence: generation * 2,
            serial: Serial::new(0, generation).0,
            content,
        }]
    };
    let expected = HashSet::from([Vec::new(), row(1, 10), row(3, 20)]);
    assert_eq!(*seen_in_all.lock().unwrap(), expected);
}

fn start(request_id: u64) -> Request {
    Request::start(&RequestStart {
        connection: Connection::NONE,
        request_id,
        method_id: 0,
        direction: Direction::Outgoing,
        phase: Phase::Queued,
        // Not counted: that has a test of its own.
        kind: RequestKind::Connect,
        payload_bytes: 0,
        arguments: None,
        parent: Request::NONE,
    })
}

/// The phase of a request, and the bytes of its response as a reader takes them.
fn shown(request: Request) -> (PhaseWord, Option<u64>) {
    let slots = registry().unwrap().slots::<RequestRecord>();
    let slot = slots.get(request.serial().slot()).unwrap();
    let load = |offset| slot.u64(offset).load(Ordering::Relaxed);
    let phase = PhaseWord(load(offset_of!(RequestRecord, phase)));
    let response = ResponseWord(load(offset_of!(RequestRecord, response)));
    let is_shown = phase.outcome() != 0 && response.is_of(request.serial().generation());
    (phase, is_shown.then_some(response.bytes()))
}

/// It is as it was when it started.
fn assert_untouched(request: Request) {
    let generation = request.serial().generation();
    let phase = PhaseWord::new(generation, 0, Phase::Queued.code(), 0);
    assert_eq!(shown(request), (phase, None));
}

#[test]
fn threads_never_have_the_same_slot() {
    check(SWITCHES, || {
        for serial in [1, 2, 3, 4].map(claim) {
            assert!(release(serial));
        }
        // The slot that comes back is the first in the list again, but what was behind it is not there.
        let take_turns = || {
            let (first, second) = (claim(1), claim(2));
            assert!(release(first));
            let third = claim(3);
            assert_ne!(first, third);
            [second, third]
        };
        let other = spawn(take_turns);
        check_all_are_claimed(&[take_turns(), other.join().unwrap()]);
    });
}

/// The slots of a table without caches are claimed, each once.
fn check_all_are_claimed(claimed: &[[Serial; 2]]) {
    let slots = claimed.as_flattened().iter().map(|serial| serial.slot());
    assert_eq!(slots.collect::<HashSet<_>>().len(), 4);
    let registry = registry().unwrap();
    assert_eq!(registry.claim::<ModelRecord>(|_, _| ()), None);
}

#[test]
fn no_slot_is_lost_between_threads_that_keep_some() {
    check(SWITCHES, || {
        // One more than a thread keeps.
        let requests = [1, 2, 3].map(start);
        let other = spawn(move || requests.map(|request| request.end(Outcome::Ok)));
        let fourth = start(4);
        assert_ne!(fourth, Request::NONE);
        assert_eq!(other.join().unwrap(), [true; 3]);
        let claimed = [start(5), start(6), start(7), fourth].map(|request| request.serial().slot());
        assert_eq!(HashSet::from(claimed).len(), 4);
        assert_eq!(start(8), Request::NONE);
    });
}

#[test]
fn a_request_ends_once() {
    check(SWITCHES, || {
        let request = start(1);
        let other = spawn(move || request.end(Outcome::Dropped));
        let is_ended_here = request.end(Outcome::Ok);
        assert_ne!(is_ended_here, other.join().unwrap());
        let requests = [start(2), start(3), start(4), start(5)];
        assert!(!requests.contains(&Request::NONE));
        assert_eq!(HashSet::from(requests.map(Request::serial)).len(), 4);
    });
}

#[test]
fn a_late_report_leaves_the_next_request_alone() {
    check(SWITCHES, || {
        let first = start(1);
        let late = spawn(move || {
            first.advance(Phase::Sent);
            first.mark(Mark::Orphaned);
        });
        assert!(first.end(Outcome::Ok));
        let second = start(2);
        assert_eq!(first.serial().slot(), second.serial().slot());
        late.join().unwrap();
        assert_untouched(second);
    });
}

#[test]
fn a_late_response_leaves_the_next_request_alone() {
    check(SWITCHES, || {
        let first = start(1);
        let late = spawn(move || first.respond(Phase::Responded, Outcome::UserError, 7));
        assert!(first.end(Outcome::Ok));
        let second = start(2);
        assert_eq!(first.serial().slot(), second.serial().slot());
        late.join().unwrap();
        assert_untouched(second);
    });
}

#[test]
fn a_late_response_is_never_shown_as_another_ones() {
    check(SWITCHES, || {
        let first = start(1);
        let late = spawn(move || first.respond(Phase::Responded, Outcome::UserError, 7));
        assert!(first.end(Outcome::Ok));
        let second = start(2);
        second.respond(Phase::Responded, Outcome::Ok, 8);
        late.join().unwrap();
        let (phase, bytes) = shown(second);
        assert_eq!(phase.outcome(), Outcome::Ok.code());
        // Not known if the late store came last.
        assert!(matches!(bytes, None | Some(8)));
    });
}

#[test]
fn no_report_is_lost_to_another() {
    check(SWITCHES, || {
        let request = start(1);
        let driver = spawn(move || request.advance(Phase::Sent));
        let caller = spawn(move || request.advance(Phase::HandedOver));
        request.mark(Mark::Orphaned);
        driver.join().unwrap();
        caller.join().unwrap();
        assert_eq!(request.phase(), Some(Phase::Sent));
        let (phase, _) = shown(request);
        assert_eq!(phase.mark(), Mark::Orphaned.code());
    });
}

/// Calls of a method that were counted in a row.
fn counted(row: u32) -> u64 {
    let slots = registry()
        .unwrap()
        .region
        .slots::<StatisticsRecord>(Table::Statistics);
    let counter = slots
        .get(row)
        .unwrap()
        .u64(offset_of!(StatisticsRecord, outcomes));
    counter.load(Ordering::Relaxed)
}

fn count() {
    let registry = registry().unwrap();
    let call = EndedCall {
        method_id: 1,
        direction: Direction::Outgoing.code(),
        outcome: Outcome::Ok,
        request_bytes: 0,
        response_bytes: 0,
        ended_ns: 1,
        latency_ns: 1,
    };
    registry.statistics.count(&registry.region, &call);
}

#[test]
fn threads_that_share_rows_lose_no_count() {
    check(2, || {
        // There are rows for one thread.
        count();
        let threads = [spawn(count), spawn(count)];
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!((counted(0), counted(1)), (1, 2));
    });
}

#[test]
fn a_thread_that_takes_rows_over_loses_no_count() {
    check(2, || {
        let threads = [spawn(count), spawn(count)];
        for thread in threads {
            thread.join().unwrap();
        }
        count();
        assert_eq!(counted(0) + counted(1), 3);
    });
}

loom::lazy_static! {
    static ref CELLS: Cells = Cells::new(4).unwrap();
}

fn start_cell() -> RequestCell {
    CELLS.get(CELLS.claim(Phase::Queued).unwrap()).unwrap()
}

#[test]
fn a_request_in_a_cell_ends_once() {
    check(SWITCHES, || {
        let request = start_cell();
        let other = spawn(move || request.end().is_some());
        let is_ended_here = request.end().is_some();
        assert_ne!(is_ended_here, other.join().unwrap());
    });
}

#[test]
fn a_late_report_does_no_more_to_a_cell_than_to_lose_a_phase() {
    check(SWITCHES, || {
        let first = start_cell();
        let late = spawn(move || {
            first.advance(Phase::Sent);
            first.set_mark(Mark::Orphaned);
            first.end().is_some()
        });
        let is_ended_here = first.end().is_some();
        // Its cell's turn is the one after the next, unless it is still in flight.
        let (other, second) = (start_cell(), start_cell());
        assert_ne!(is_ended_here, late.join().unwrap());
        for request in [other, second] {
            assert!(matches!(request.phase(), Some(0 | 1)));
            assert_eq!(request.mark(), 0);
            assert_eq!(request.end(), Some((None, 0)));
        }
    });
}

#[test]
fn threads_never_have_the_same_cell() {
    check(SWITCHES, || {
        let requests = || [start_cell(), start_cell()].map(RequestCell::serial);
        let other = spawn(requests);
        let serials = [requests(), other.join().unwrap()];
        let serials: HashSet<_> = serials.as_flattened().iter().collect();
        assert_eq!(serials.len(), 4);
    });
}
