//! What is written to this process's registry is what its reader finds.
//!
//! The registry is one for the process, so every test reads rows of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use roam_diagnostic::registry::{
    Channel, ChannelDirection, ChannelOpen, ChannelSide, Connection, ConnectionOpen,
    ConnectionState, Direction, Mark, Outcome, Phase, Request, RequestKind, RequestStart, Role,
    now_ns,
};
use roam_dump::decode::from_registry;
use roam_dump::model::{Process, Snapshot};
use roam_dump::read::{Image, read_own};
use roam_trace_common::registry::FLAG_COARSE_CLOCK;

fn connection(name: &str) -> Connection {
    Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: 0,
        group: Connection::NONE,
        role: Role::Initiator,
        state: ConnectionState::Open,
        observes_writes: true,
        name,
    })
}

/// One of a few methods: each has statistics of its own.
fn method_of(request_id: u64) -> u64 {
    (request_id % 4) * 7
}

fn start(connection: Connection, request_id: u64) -> Request {
    Request::start(&RequestStart {
        connection,
        request_id,
        method_id: method_of(request_id),
        direction: Direction::Outgoing,
        phase: Phase::Queued,
        kind: RequestKind::Call,
        payload_bytes: 10,
        arguments: None,
        parent: Request::NONE,
    })
}

fn snapshot() -> Snapshot {
    let mut image: Image = read_own().unwrap().unwrap();
    assert_eq!((image.torn, image.invalid), (0, 0));
    let process = Process::new(std::process::id(), "test");
    from_registry(process, &mut image, roam_diagnostic::clock::now_ns())
}

fn row(request: Request) -> Option<roam_dump::model::Request> {
    snapshot()
        .requests
        .into_iter()
        .find(|row| row.serial == request.serial().0)
}

#[test]
fn a_request_goes_forward_and_ends_once() {
    let link = connection("forward");
    let request = start(link, 1);
    assert_eq!(row(request).unwrap().phase, Phase::Queued);
    request.advance(Phase::Sent);
    request.advance(Phase::HandedOver);
    assert_eq!(row(request).unwrap().phase, Phase::Sent);
    request.respond(Phase::Responded, Outcome::UserError, 5);
    let seen = row(request).unwrap();
    assert_eq!(seen.phase, Phase::Responded);
    assert_eq!(seen.response_bytes, Some(5));
    assert_eq!(seen.connection_name.as_deref(), Some("forward"));
    assert!(request.end_as_responded(Outcome::Dropped));
    assert!(!request.end(Outcome::Dropped));
    assert_eq!(row(request), None);
}

#[test]
fn a_late_writer_does_not_touch_the_next_request_in_the_slot() {
    let link = connection("late");
    let first = start(link, 1);
    first.end(Outcome::Ok);
    let second = start(link, 2);
    assert_eq!(first.serial().slot(), second.serial().slot());
    first.advance(Phase::Sent);
    first.respond(Phase::Responded, Outcome::Ok, 99);
    first.mark(Mark::Orphaned);
    assert!(!first.end(Outcome::Ok));
    let seen = row(second).unwrap();
    assert_eq!(
        (seen.phase, seen.mark, seen.response_bytes),
        (Phase::Queued, None, None)
    );
    second.end(Outcome::Ok);
}

#[test]
fn marks_and_phases_stand_side_by_side() {
    let request = start(connection("marks"), 1);
    request.mark(Mark::EndedWithoutAnswer);
    request.advance(Phase::HandedOver);
    let seen = row(request).unwrap();
    assert_eq!(
        (seen.phase, seen.mark),
        (Phase::HandedOver, Some(Mark::EndedWithoutAnswer))
    );
    request.end(Outcome::NoAnswer);
}

#[test]
fn a_channel_counts_what_moves() {
    let link = connection("channel");
    let request = start(link, 1);
    let channel = Channel::open(&ChannelOpen {
        connection: link,
        channel_id: 3,
        request,
        direction: ChannelDirection::Rx,
        side: ChannelSide::Client,
        type_index: roam_diagnostic::registry::register_type(1, || "Vec<u8>".into()),
        receive_budget_bytes: 100,
    });
    channel.received(40, 60);
    channel.received(10, 50);
    channel.read();
    let find = || {
        snapshot()
            .channels
            .into_iter()
            .find(|row| row.serial == channel.serial().0)
            .unwrap()
    };
    let seen = find();
    assert_eq!(
        (seen.bytes_received, seen.items_received, seen.items_read),
        (50, 2, Some(1))
    );
    assert_eq!(seen.receive_budget_bytes, Some(50));
    assert_eq!(seen.element_type.as_deref(), Some("Vec<u8>"));
    assert_eq!(seen.request_id, Some(1));
    assert_eq!((seen.reader_gone, seen.writer_gone), (false, false));
    channel.writer_gone();
    assert_eq!((find().reader_gone, find().writer_gone), (false, true));
    channel.reader_gone();
    assert_eq!((find().reader_gone, find().writer_gone), (true, true));
    channel.close();
    request.end(Outcome::Ok);
    assert!(
        snapshot()
            .channels
            .iter()
            .all(|row| row.serial != channel.serial().0)
    );
}

#[test]
fn a_connection_is_renamed_closed_and_released() {
    let link = connection("before");
    link.set_name("after \u{1b}[31m\u{202e}");
    link.set_delivering(Some(7));
    link.message_sent(12, now_ns());
    let find = || {
        snapshot()
            .connections
            .into_iter()
            .find(|row| row.serial == link.serial().0)
    };
    let seen = find().unwrap();
    assert_eq!(&*seen.name, "after \\u{1b}[31m\\u{202e}");
    assert_eq!(seen.delivering.unwrap().channel_id, 7);
    assert_eq!(seen.sent.unwrap().payload_bytes, 12);
    link.close();
    assert_eq!(find().unwrap().state, ConnectionState::Closed);
    link.release();
    assert_eq!(find(), None);
}

#[test]
fn a_driver_tells_of_its_loop_its_queue_and_its_writes() {
    let link = connection("driver");
    let driver = || {
        snapshot()
            .connections
            .into_iter()
            .find(|row| row.serial == link.serial().0)
            .unwrap()
            .driver
    };
    link.enqueued();
    assert_eq!(driver(), None);
    link.driver_polled(now_ns());
    link.enqueued();
    link.dequeued();
    let seen = driver().unwrap();
    assert_eq!((seen.enqueued, seen.dequeued), (2, 1));
    assert!(seen.polled_age_us < 10_000_000);
    assert_eq!(seen.writing_us, None);
    link.set_writing(true);
    assert!(driver().unwrap().writing_us.is_some());
    link.set_writing(false);
    assert_eq!(driver().unwrap().writing_us, None);
    link.release();
}

#[test]
fn the_header_says_whether_times_are_those_of_the_last_tick() {
    connection("clock").release();
    let flags = read_own().unwrap().unwrap().header.flags;
    let is_coarse = flags & FLAG_COARSE_CLOCK != 0;
    #[cfg(miri)]
    assert!(is_coarse, "Miri has no counter");
    if !is_coarse {
        let before = now_ns();
        thread::sleep(Duration::from_micros(100));
        assert!(now_ns() >= before + 50_000);
    }
}

#[test]
fn a_call_names_the_request_whose_handler_made_it() {
    let link = connection("parent");
    let handler = start(link, 1);
    let call = Request::start(&RequestStart {
        connection: link,
        request_id: 2,
        method_id: 14,
        direction: Direction::Outgoing,
        phase: Phase::Queued,
        kind: RequestKind::Call,
        payload_bytes: 10,
        arguments: None,
        parent: handler,
    });
    assert_eq!(row(handler).unwrap().parent, None);
    assert_eq!(row(call).unwrap().parent, Some(handler.serial().0));
    handler.end(Outcome::Ok);
    call.end(Outcome::Ok);
}

#[test]
fn readers_never_see_a_row_that_was_not_written() {
    let stop = AtomicBool::new(false);
    let link = connection("stress");
    thread::scope(|scope| {
        for writer in 1..=2_u64 {
            let stop = &stop;
            scope.spawn(move || {
                let mut number = writer << 32;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let request = start(link, number);
                    request.advance(Phase::Sent);
                    request.respond(Phase::Responded, Outcome::Ok, number & 0xff);
                    assert!(request.end_as_responded(Outcome::Dropped));
                }
            });
        }
        for _ in 0..if cfg!(miri) { 1 } else { 500 } {
            let image = read_own().unwrap().unwrap();
            for row in &image.requests {
                if row.connection == link.serial().0 {
                    assert_eq!(row.method_id, method_of(row.request_id));
                    assert_eq!(row.request_bytes, 10);
                    assert!(matches!(row.request_id >> 32, 1 | 2));
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        snapshot()
            .requests
            .iter()
            .all(|row| row.connection != link.serial().0)
    );
}
