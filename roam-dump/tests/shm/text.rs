//! The section of hubs as people read it.

use jiff::tz::TimeZone;
use roam_diagnostic::registry::{Direction, Phase, RequestKind};
use roam_dump::model::{
    Doorbell, Hub, HubContent, HubFile, HubRole, HubState, HubUser, Process, Request, Snapshot,
    Source, WaitingThread,
};
use roam_dump::render::{hub, text};
use roam_dump::shm::{HubDetail, join};
use roam_shm::SegmentConfig;
use roam_shm::layout::SizeClass;

use crate::{read_with, request, small};

fn hub(content: HubContent) -> Hub {
    Hub {
        path: "/dev/shm/app".into(),
        is_deleted: true,
        file: Some(HubFile {
            device_major: 0,
            device_minor: 26,
            inode: 4_711,
        }),
        users: vec![
            HubUser {
                process: Process::new(40, "demo-host"),
                role: HubRole::Host,
            },
            HubUser {
                process: Process::new(41, "demo-cell-1"),
                role: HubRole::Guest { peer: 1 },
            },
        ],
        findings: Vec::new(),
        content,
    }
}

fn outgoing(request_id: u64) -> Request {
    Request {
        serial: request_id,
        source: Source::Registry,
        direction: Direction::Outgoing,
        kind: RequestKind::Call,
        connection: 1,
        connection_name: Some("cell-http".into()),
        parent: None,
        request_id,
        method_id: 0x1234_5678_9abc_def0,
        method: Some("Markdown.convert".into()),
        arguments: None,
        phase: Phase::HandedOver,
        writes_observable: false,
        mark: None,
        age_us: 2_300_000,
        phase_age_us: 2_300_000,
        request_bytes: 12,
        response_bytes: None,
        verdict: None,
    }
}

fn render(mut hubs: Vec<Hub>) -> String {
    let mut host = Snapshot::new(Process::new(40, "demo-host"), Source::Registry, 0);
    // Request 1 may be either of two.
    host.requests = vec![outgoing(1), outgoing(1), outgoing(2)];
    join(&mut hubs, &[host]);
    let options = text::Options {
        time_zone: TimeZone::UTC,
        ..text::Options::plain()
    };
    let mut out = Vec::new();
    for hub in &hubs {
        hub::render(&mut out, &options, hub).unwrap();
    }
    String::from_utf8(out).unwrap()
}

fn state() -> HubState {
    let mut hub = crate::Hub::new(small());
    let mut guest = hub.attach();
    for id in 0..5 {
        guest.send(request(id, 5)).unwrap();
    }
    hub.host.poll();
    for id in 0..3 {
        hub.host.send(guest.peer_id(), request(id, 40)).unwrap();
    }
    let detail = HubDetail {
        slots: true,
        history: 2,
    };
    let mut state = read_with(&hub.file(), detail).unwrap();
    state.peers[0].process = Some(Process::new(41, "demo-cell-1"));
    state.peers[0].doorbell = Some(Doorbell {
        host_is_signalled: Some(false),
        peer_is_signalled: true,
        host: Some(40),
        host_waits_in: None,
        peer_waits_in: Some(WaitingThread {
            tid: 43,
            name: "demo-worker".into(),
        }),
    });
    state
}

#[test]
fn text_of_a_hub() {
    insta::assert_snapshot!(render(vec![hub(HubContent::Content(Box::new(state())))]));
}

#[test]
fn text_of_size_classes() {
    let hub = crate::Hub::new(SegmentConfig {
        var_slot_classes: Some(vec![SizeClass::new(64, 5_000), SizeClass::new(256, 5)]),
        ..small()
    });
    let offset = hub.host.layout().var_slot_pool_offset().unwrap();
    let classes = hub.host.config().var_slot_classes.clone().unwrap();
    let pool = roam_shm::VarSlotPool::new(hub.host.region(), offset, classes);
    for owner in [0, 1, 1, 12] {
        pool.alloc(200, owner).unwrap();
    }
    let detail = HubDetail {
        slots: true,
        history: 0,
    };
    let state = read_with(&hub.file(), detail).unwrap();
    let of_classes = self::hub(HubContent::Content(Box::new(state)));
    let text = render(vec![of_classes]);
    // Most of the 5,000 slots are alike.
    let lines = text.lines().filter(|line| !line.ends_with(&"F".repeat(64)));
    let lines = lines.filter(|line| !line.ends_with(&".".repeat(64)));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn text_of_a_hub_that_cannot_be_read() {
    let error = "the file is truncated: it has 100 bytes, and the hub claims 1000";
    insta::assert_snapshot!(render(vec![hub(HubContent::Error(error.into()))]));
}
