//! What threads count, read as another process would. The rows are the process's, and threads take them over from
//! each other, so this binary has one test.

use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::thread;

use roam_diagnostic::clock;
use roam_diagnostic::registry::{
    Connection, Direction, Outcome, Phase, Request, RequestKind, RequestStart, own,
};
use roam_trace_common::latency::{bucket_of, units_of_ns};
use roam_trace_common::limits;
use roam_trace_common::registry::{HeaderRecord, StatisticsRecord, Table, TableRecord};
use zerocopy::FromBytes;

/// More than can have rows of their own.
const THREADS: u64 = 80;
const LATENCY_NS: u64 = 5_000_000;

fn start(method_id: u64, direction: Direction, kind: RequestKind) -> Request {
    Request::start(&RequestStart {
        connection: Connection::NONE,
        request_id: 1,
        method_id,
        direction,
        phase: Phase::Queued,
        kind,
        payload_bytes: 3,
        arguments: None,
        parent: Request::NONE,
    })
}

/// Makes a call that takes a little longer than [`LATENCY_NS`].
fn call(method_id: u64) -> Request {
    let request = start(method_id, Direction::Outgoing, RequestKind::Call);
    let answered_ns = clock::now_ns() + LATENCY_NS;
    request.respond_at(Phase::Responded, Outcome::Ok, 5, answered_ns);
    request
}

fn end(request: Request) {
    assert!(request.end_as_responded(Outcome::Dropped));
}

fn read<R: FromBytes>(offset: u64) -> R {
    let mut bytes = vec![0; size_of::<R>()];
    own::region().unwrap().copy_to(offset, &mut bytes);
    R::read_from_bytes(&bytes).unwrap()
}

fn table() -> TableRecord {
    read::<HeaderRecord>(0).tables[Table::Statistics as usize]
}

fn rows(method_id: u64) -> Vec<StatisticsRecord> {
    let table = table();
    let slots = 0..u64::from(table.high_water);
    slots
        .map(|slot| read::<StatisticsRecord>(table.offset + slot * u64::from(table.slot_bytes)))
        .filter(|row| row.sequence == 2 && row.method_id == method_id)
        .collect()
}

/// That many calls of the method were answered, and are counted in at most `most_rows`.
#[track_caller]
fn check(method_id: u64, answered: u64, most_rows: usize) {
    let rows = rows(method_id);
    assert!(rows.len() <= most_rows, "{} rows", rows.len());
    let sum = |of: fn(&StatisticsRecord) -> u64| rows.iter().map(of).sum::<u64>();
    assert_eq!(sum(|row| row.outcomes.iter().sum()), answered);
    assert_eq!(sum(|row| row.outcomes[0]), answered);
    assert_eq!(sum(|row| row.request_bytes), 3 * answered);
    assert_eq!(sum(|row| row.response_bytes), 5 * answered);
    assert_eq!(sum(|row| row.buckets.iter().sum()), answered);
    let bucket = bucket_of(units_of_ns(LATENCY_NS));
    for row in rows {
        // A thread may be held up between the two times that it takes, but rarely is.
        let exact = row.buckets[bucket] + row.buckets[bucket + 1];
        let count = row.buckets.iter().sum::<u64>();
        assert!(exact + 20 >= count && row.buckets[..bucket].iter().all(|&count| count == 0));
        assert_eq!(row.direction, Direction::Outgoing.code());
        assert!(row.longest >= units_of_ns(LATENCY_NS));
        assert!(row.last_ended_ns <= clock::now_ns() + LATENCY_NS);
    }
}

#[test]
fn every_call_is_counted_once() {
    // Threads take over the rows of those before them.
    for _ in 0..200 {
        thread::spawn(|| end(call(1))).join().unwrap();
    }
    check(1, 200, 1);

    // All at the same time: some of them share a row.
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                (0..100).for_each(|_| end(call(2)));
                barrier.wait();
                (0..100).for_each(|_| end(call(2)));
            });
        }
    });
    check(2, THREADS * 200, 65);

    // What one thread starts another one ends.
    let (started, to_end) = channel();
    let starting = thread::spawn(move || (0..1_000).for_each(|_| started.send(call(3)).unwrap()));
    to_end.into_iter().for_each(end);
    starting.join().unwrap();
    check(3, 1_000, 1);

    check_outcomes();
    check_full_table();
}

/// Only answered calls have a latency, and no row is for what is no call.
fn check_outcomes() {
    for (direction, method_id) in [(Direction::Incoming, 4), (Direction::Outgoing, 4)] {
        for &outcome in Outcome::ALL {
            assert!(start(method_id, direction, RequestKind::Call).end(outcome));
        }
    }
    let rows = rows(4);
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row.outcomes, [1; 9]);
        assert_eq!(row.buckets.iter().sum::<u64>(), 2);
        assert!(row.last_ended_ns <= clock::now_ns());
    }
    start(5, Direction::Outgoing, RequestKind::Connect).end(Outcome::Ok);
    assert!(self::rows(5).is_empty());
}

/// What finds no room is counted as lost; what has a row is counted on.
fn check_full_table() {
    let before = table().high_water;
    let room = u64::from(limits::STATISTICS - before);
    for method_id in 1_000..1_000 + room + 10 {
        end(call(method_id));
        end(call(method_id));
    }
    let full = table();
    assert_eq!((full.high_water, full.lost), (limits::STATISTICS, 20));
    check(1_000, 2, 1);
    check(1_000 + room - 1, 2, 1);
    check(1_000 + room, 0, 0);
    end(call(1_000));
    check(1_000, 3, 1);
}
