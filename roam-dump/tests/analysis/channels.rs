//! Verdicts of channels and connections.

use std::sync::Arc;

use roam_diagnostic::registry::ConnectionState;
use roam_dump::model::{Code, Delivering, Gap, ProcessState};

use super::world::{Call, End, Link, SECOND, World};

struct Upload {
    world: World,
    link: Link,
    call: Call,
    tx: End,
    rx: End,
}

fn upload() -> Upload {
    let mut world = World::new();
    let host = world.process("demo-host");
    let cell = world.process("cell-http");
    let link = world.connect(host, cell, 60 * SECOND);
    let call = world.call(host, link, "TcpTunnel.upload", 45 * SECOND);
    let [tx, rx] = world.channel(3, call.caller, call.callee);
    Upload {
        world,
        link,
        call,
        tx,
        rx,
    }
}

/// What `of` picks out gets that code, and a text with those words.
fn check(
    change: impl FnOnce(&mut Upload),
    of: impl FnOnce(&Upload) -> End,
    expected: Option<(Code, &str)>,
) {
    let mut upload = upload();
    change(&mut upload);
    upload.world.explain();
    let verdict = upload.world.verdict(of(&upload).serial);
    assert_eq!(
        verdict.as_ref().map(|verdict| verdict.code),
        expected.map(|(code, _)| code),
        "{verdict:?}"
    );
    if let (Some(verdict), Some((_, words))) = (verdict, expected) {
        assert!(verdict.text.contains(words), "{}", verdict.text);
    }
}

fn fill_buffer(upload: &mut Upload) {
    upload.world.connection(upload.link.ends[1]).delivering = Some(Delivering {
        channel_id: 3,
        waiting_us: 12 * SECOND,
    });
    upload.world.channel_row(upload.rx).items_received = 1_024;
}

#[test]
fn idle_channels_are_not_stuck() {
    check(|_| {}, |upload| upload.tx, None);
    check(|_| {}, |upload| upload.rx, None);
    check(|_| {}, |upload| upload.link.ends[0], None);
}

#[test]
fn a_full_buffer_blocks_the_driver() {
    check(
        fill_buffer,
        |upload| upload.rx,
        Some((
            Code::DriverBlocked,
            "(1,024 unread items), and the driver of the link has waited 12.0s",
        )),
    );
    check(fill_buffer, |upload| upload.tx, None);
    check(
        fill_buffer,
        |upload| upload.link.ends[1],
        Some((
            Code::DriverBlocked,
            "has waited 12.0s for room in the buffer of channel 3, which TcpTunnel.upload (req_id=1) does not read",
        )),
    );
}

#[test]
fn who_does_not_read_a_channel_may_be_unknown() {
    let check_reader = |change: fn(&mut Upload), words| {
        check(
            |upload| {
                fill_buffer(upload);
                change(upload);
            },
            |upload| upload.link.ends[1],
            Some((Code::DriverBlocked, words)),
        );
    };
    let forget = |upload: &mut Upload| upload.world.forget(upload.call.callee);
    check_reader(forget, "of channel 3, whose request has ended");
    check_reader(
        |upload| {
            upload.world.forget(upload.call.callee);
            let gaps = &mut upload.world.snapshots[1].gaps;
            gaps.push(Gap::Torn { count: 1 });
        },
        "of channel 3, whose request is unknown",
    );
    check_reader(
        |upload| upload.world.channel_row(upload.rx).request = None,
        "of channel 3, whose request is unknown",
    );
    check_reader(
        |upload| upload.world.snapshots[1].channels.clear(),
        "of channel 3, whose request is unknown",
    );
}

#[test]
fn a_delivery_that_just_began_is_not_stuck() {
    check(
        |upload| {
            fill_buffer(upload);
            let connection = upload.world.connection(upload.link.ends[1]);
            connection.delivering.as_mut().unwrap().waiting_us = 999_999;
        },
        |upload| upload.rx,
        None,
    );
}

#[test]
fn ends_that_are_gone() {
    check(
        |upload| upload.world.channel_row(upload.tx).reader_gone = true,
        |upload| upload.tx,
        Some((Code::ReaderGone, "nothing reads the items that are sent")),
    );
    check(
        |upload| {
            let rx = upload.world.channel_row(upload.rx);
            (rx.writer_gone, rx.items_received) = (true, 7);
        },
        |upload| upload.rx,
        Some((
            Code::WriterGone,
            "no more items arrive after the 7 unread ones",
        )),
    );
}

#[test]
fn ends_that_the_other_process_does_not_have() {
    let forget = |upload: &mut Upload, row: End| {
        upload.world.snapshots[row.process].channels.clear();
    };
    check(
        |upload| forget(upload, upload.rx),
        |upload| upload.tx,
        Some((
            Code::ReaderGone,
            "gone: nothing reads the items that are sent; cell-http[4002] has no such channel",
        )),
    );
    check(
        |upload| forget(upload, upload.tx),
        |upload| upload.rx,
        Some((
            Code::WriterGone,
            "no more items arrive; demo-host[4001] has no such channel",
        )),
    );
    check(
        |upload| upload.world.trace_only(&[0]),
        |upload| upload.tx,
        None,
    );
}

#[test]
fn connections_that_are_stuck() {
    check(
        |upload| {
            upload
                .world
                .set_driver(upload.link.ends[0], 5 * SECOND, 9, 2)
        },
        |upload| upload.link.ends[0],
        Some((Code::RuntimeStarved, "has work and last ran 5.0s ago")),
    );
    check(
        |upload| {
            upload
                .world
                .set_driver(upload.link.ends[0], 5 * SECOND, 9, 2);
            let driver = &mut upload.world.connection(upload.link.ends[0]).driver;
            driver.as_mut().unwrap().writing_us = Some(5 * SECOND);
        },
        |upload| upload.link.ends[0],
        Some((Code::WriteBlocked, "in a write to the transport for 5.0s")),
    );
    check(
        |upload| {
            let connection = upload.world.connection(upload.link.ends[0]);
            connection.state = ConnectionState::BackingOff;
            connection.attempts = 3;
        },
        |upload| upload.link.ends[0],
        Some((
            Code::NotConnected,
            "no connection for 60.0s: 3 attempts failed",
        )),
    );
    check(
        |upload| upload.world.set_state(1, ProcessState::Stopped),
        |upload| upload.link.ends[0],
        Some((Code::PeerStopped, "peer cell-http[4002] is stopped")),
    );
}

#[test]
fn calls_behind_a_full_buffer_are_counted() {
    let mut upload = upload();
    let behind = upload.world.call(0, upload.link, "Http.get", 10 * SECOND);
    upload.world.forget(behind.callee);
    fill_buffer(&mut upload);
    upload.world.explain();
    let verdict = upload.world.verdict(behind.caller.serial).unwrap();
    assert_eq!(verdict.code, Code::DriverBlocked);
    let json = serde_json::to_value(&verdict).unwrap();
    let delivering = json["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .find(|evidence| evidence["fact"] == "delivering")
        .unwrap();
    assert_eq!(delivering["unread_items"], 1_024);
    assert_eq!(delivering["channel_id"], 3);
    assert_eq!(upload.call.caller.process, 0);
}

#[test]
fn calls_behind_a_full_buffer_share_their_verdict() {
    let mut upload = upload();
    fill_buffer(&mut upload);
    let behind = [1, 2].map(|_| {
        let call = upload.world.call(0, upload.link, "Http.get", 10 * SECOND);
        upload.world.forget(call.callee);
        call.caller
    });
    upload.world.explain();
    let [first, second] = behind.map(|row| upload.world.verdict(row.serial).unwrap());
    assert!(Arc::ptr_eq(&first.text, &second.text));
    assert!(Arc::ptr_eq(&first.evidence, &second.evidence));
}
