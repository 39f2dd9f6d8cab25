//! The dump as people and programs see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use roam_diagnostic::registry::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Mark, Phase, RequestKind, Role,
};
use roam_dump::model::{
    Basis, Channel, Code, Confidence, Connection, ConnectionWindow, Delivering, Driver, Dump, Edge,
    Evidence, FindingKind, Gap, MadeBy, Node, NodeKind, Pile, Process, ProcessFinding,
    ProcessState, Relation, Request, Root, RuntimeBlocked, SCHEMA_VERSION, Severity, Snapshot,
    Source, Traffic, Verdict, WaitGraph, Window,
};
use roam_dump::render::{json, text};
use serde_json::Value;

const SECOND: u64 = 1_000_000;

fn request(request_id: u64, method: &str, phase: Phase, age_us: u64) -> Request {
    let direction = if phase < Phase::Received {
        Direction::Outgoing
    } else {
        Direction::Incoming
    };
    Request {
        serial: (1 << 60) + request_id,
        source: Source::Registry,
        direction,
        kind: RequestKind::Call,
        connection: 1,
        connection_name: Some("cell-http".into()),
        parent: None,
        request_id,
        method_id: 0x00ab_cdef_0123_4567,
        method: (!method.is_empty()).then(|| method.into()),
        arguments: None,
        phase,
        writes_observable: true,
        mark: None,
        age_us,
        phase_age_us: age_us.saturating_sub(SECOND / 10),
        request_bytes: 12,
        response_bytes: None,
        verdict: None,
    }
}

fn channel(channel_id: u64, direction: ChannelDirection) -> Channel {
    Channel {
        serial: channel_id,
        source: Source::Registry,
        connection: 1,
        connection_name: Some("cell-http".into()),
        channel_id,
        request: Some(7),
        request_id: Some(93),
        direction,
        side: ChannelSide::Client,
        element_type: Some("Vec<u8>".into()),
        age_us: 452 * SECOND / 10,
        idle_us: None,
        bytes_sent: 0,
        items_sent: 0,
        bytes_received: 0,
        items_received: 0,
        items_read: Some(0),
        receive_budget_bytes: Some(65_536),
        reader_gone: false,
        writer_gone: false,
        verdict: None,
    }
}

fn snapshot() -> Snapshot {
    let process = Process::new(4242, "demo-host");
    Snapshot::new(process, Source::Registry, 60 * 1_000_000_000)
}

fn dump(snapshot: Snapshot) -> Dump {
    Dump {
        schema_version: SCHEMA_VERSION,
        taken_at: "2026-11-20T10:12:03.25Z".parse().unwrap(),
        verdicts: Vec::new(),
        processes: vec![snapshot],
        graph: None,
    }
}

fn as_text(snapshot: Snapshot) -> String {
    text_of(&dump(snapshot))
}

fn text_of(dump: &Dump) -> String {
    let mut out = Vec::new();
    let options = text::Options {
        color: false,
        time_zone: TimeZone::UTC,
    };
    text::render(&mut out, dump, &options).unwrap();
    String::from_utf8(out).unwrap()
}

/// The hung call of the document that the dump comes from.
fn one_hung_call() -> Snapshot {
    let mut snapshot = snapshot();
    let mut find_content = request(
        94,
        "ContentService.find_content",
        Phase::HandedOver,
        121 * SECOND / 10,
    );
    find_content.connection_name = Some("cell-markdown".into());
    find_content.arguments = Some("\"/guide/debugging\"".into());
    snapshot.requests = vec![
        request(93, "TcpTunnel.open", Phase::Sent, 452 * SECOND / 10),
        find_content,
    ];
    snapshot.channels = vec![
        Channel {
            bytes_sent: 1_234_567,
            items_sent: 847,
            idle_us: Some(449 * SECOND / 10),
            receive_budget_bytes: None,
            ..channel(370, ChannelDirection::Tx)
        },
        channel(372, ChannelDirection::Rx),
    ];
    snapshot
}

#[test]
fn text_of_one_hung_call() {
    insta::assert_snapshot!(as_text(one_hung_call()));
}

#[test]
fn text_of_nothing_in_flight() {
    insta::assert_snapshot!(as_text(snapshot()));
}

/// The last line of a dump with an empty wait graph.
#[track_caller]
fn check_end(snapshot: Snapshot, expected: &str) {
    let dump = Dump {
        graph: Some(WaitGraph::default()),
        ..dump(snapshot)
    };
    assert_eq!(text_of(&dump).lines().last().unwrap().trim(), expected);
}

#[test]
fn a_healthy_dump_says_so() {
    const HEALTHY: &str = "nothing has waited longer than 1 s";
    let with = |age_us| Snapshot {
        requests: vec![request(1, "Http.get", Phase::Sent, age_us)],
        ..snapshot()
    };
    check_end(snapshot(), HEALTHY);
    check_end(with(SECOND), HEALTHY);
    check_end(
        with(5 * SECOND),
        "nothing is stuck; the oldest request has waited 5.0s",
    );
    let mut stuck = with(5 * SECOND);
    stuck.requests[0].verdict = Some(Arc::new(Verdict {
        index: 0,
        code: Code::PeerSilent,
        text: "".into(),
        evidence: Arc::new([]),
    }));
    check_end(stuck, "(none)");
    check_end(everything_that_can_be_odd(), "(none)");
}

#[test]
fn hidden_rows_are_counted_in_the_heading() {
    let mut snapshot = one_hung_call();
    snapshot.retain_older(20 * SECOND);
    let text = as_text(snapshot);
    let heading = "complete · 1 younger row hidden (--min-age)\n";
    assert!(text.contains(heading), "{text}");
    assert!(!text.contains("find_content"), "{text}");
}

#[test]
fn probes_that_saw_no_connection_do_not_say_that_there_is_none() {
    let probes = || Snapshot {
        source: Source::Probes,
        ..snapshot()
    };
    let expected = "CONNECTIONS:\n  (none was opened while the probes were attached)\n";
    let text = as_text(probes());
    assert!(text.contains(expected), "{text}");
    let several = Dump {
        processes: vec![probes(), probes()],
        ..dump(snapshot())
    };
    let text = text_of(&several);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_callee_stands_behind_its_caller_though_its_clock_is_behind() {
    let called = |request_id, phase, age_us| request(request_id, "Http.get", phase, age_us);
    let mut host = snapshot();
    host.requests = vec![
        called(1, Phase::Sent, 5 * SECOND),
        called(2, Phase::Sent, 4 * SECOND),
    ];
    host.requests[0].verdict = Some(Arc::new(Verdict {
        index: 0,
        code: Code::HandlerRunning,
        text: "".into(),
        evidence: Arc::new([Evidence::Row {
            relation: Relation::Callee,
            pid: 4243,
            serial: (1 << 60) + 1,
            phase: Phase::Running,
            mark: None,
            phase_age_us: 0,
        }]),
    }));
    let process = Process::new(4243, "demo-cell");
    let cell = Snapshot {
        requests: vec![called(1, Phase::Running, 5 * SECOND + 4_000)],
        ..Snapshot::new(process, Source::Registry, 60 * 1_000_000_000)
    };
    let dump = Dump {
        processes: vec![cell, host],
        ..dump(snapshot())
    };
    let text = text_of(&dump);
    let rows: Vec<_> = text
        .lines()
        .filter_map(|line| Some(line.split_once(" Http.get")?.0.trim()))
        .collect();
    let expected = [
        "demo-host[4242] → [req_id=1]",
        "demo-cell[4243] ← [req_id=1]",
        "demo-host[4242] → [req_id=2]",
    ];
    assert_eq!(rows, expected);
}

fn everything_that_can_be_odd() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.source = Source::Both;
    snapshot.gaps = vec![
        Gap::TableFull {
            table: "requests",
            count: 3,
        },
        Gap::Torn { count: 1 },
        Gap::Other {
            text: "the probes could not be attached: CAP_BPF is missing".into(),
        },
    ];
    let mut orphan = request(1, "", Phase::Running, 7_265 * SECOND);
    orphan.mark = Some(Mark::Orphaned);
    orphan.source = Source::Both;
    let mut silent = request(2, "Http.get", Phase::Running, 40_000 * SECOND);
    silent.mark = Some(Mark::EndedWithoutAnswer);
    let mut foreign = request(3, "Http.get", Phase::HandedOver, 5);
    foreign.writes_observable = false;
    let mut connect = request(4, "", Phase::Sent, SECOND);
    connect.kind = RequestKind::Connect;
    snapshot.requests = vec![orphan, silent, foreign, connect];
    snapshot.channels = vec![Channel {
        request_id: None,
        element_type: None,
        side: ChannelSide::Server,
        bytes_received: 2_048,
        items_received: 1_025,
        items_read: Some(1),
        receive_budget_bytes: Some(1),
        idle_us: Some(0),
        ..channel(2, ChannelDirection::Rx)
    }];
    let traffic = |messages| Traffic {
        messages,
        payload_bytes: messages * 500,
        idle_us: (messages > 0).then_some(SECOND),
    };
    let connection = |state, name: &str| Connection {
        serial: 1,
        source: Source::Both,
        link: 1,
        conn_id: 0,
        name: name.into(),
        role: Role::Initiator,
        state,
        state_age_us: 2 * SECOND,
        attempts: 3,
        last_error: None,
        losses: 0,
        age_us: 60 * SECOND,
        sent: Some(traffic(1)),
        received: Some(traffic(0)),
        delivering: None,
        driver: None,
        socket: None,
        socket_unknown: None,
        peer: None,
        verdict: None,
    };
    snapshot.connections = vec![
        Connection {
            delivering: Some(Delivering {
                channel_id: 2,
                waiting_us: 3 * SECOND,
            }),
            ..connection(ConnectionState::Open, "cell-http")
        },
        connection(ConnectionState::Closed, "gone"),
        connection(ConnectionState::Connecting, "dialing"),
        connection(ConnectionState::BackingOff, "waiting"),
        connection(ConnectionState::Disconnected, "idle"),
    ];
    snapshot.window = Some(Window {
        duration_us: 5 * SECOND,
        connections: vec![ConnectionWindow {
            connection: 1,
            connection_name: Some("cell-http".into()),
            started: 12,
            ended: 11,
        }],
    });
    snapshot
}

#[test]
fn text_of_everything_that_can_be_odd() {
    insta::assert_snapshot!(as_text(everything_that_can_be_odd()));
}

#[test]
fn text_of_findings() {
    let mut snapshot = snapshot();
    snapshot.findings = findings();
    snapshot.findings.truncate(2);
    insta::assert_snapshot!(as_text(snapshot));
}

#[test]
fn json_has_the_documented_fields_in_order() {
    let mut out = Vec::new();
    let mut snapshot = one_hung_call();
    snapshot.gaps = vec![Gap::Invalid { count: 2 }];
    json::render(&mut out, &dump(snapshot), true).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

const BLOCKED: RuntimeBlocked = RuntimeBlocked {
    idle_us: 1,
    starved_links: 2,
    open_links: 3,
    unread_bytes: 4,
};

/// One of each kind of finding.
fn findings() -> Vec<ProcessFinding> {
    let kinds = [
        FindingKind::Stopped,
        FindingKind::Dead,
        FindingKind::RuntimeBlocked(BLOCKED),
        FindingKind::UnreadBytes {
            unread_bytes: 1,
            links: 2,
        },
        FindingKind::LinksLost {
            links: 1,
            name: "db".into(),
            since_us: 2,
            no_attempt_us: None,
            attempts: 3,
            losses: 4,
            last_error: None,
        },
        FindingKind::TableNearFull {
            table: "requests",
            used: 1,
            capacity: 2,
        },
        FindingKind::DescriptorsNearLimit { open: 1, limit: 2 },
    ];
    let finding = |kind| ProcessFinding {
        kind,
        severity: Severity::Critical,
        text: "its sentence".into(),
    };
    kinds.map(finding).into()
}

/// One of each kind of evidence.
fn evidence() -> [Evidence; 19] {
    let process = Process::new(1, "cell");
    [
        Evidence::PeerLastSent { age_us: None },
        Evidence::Driver {
            pid: 1,
            polled_age_us: 2,
            writing_us: None,
            enqueued: 3,
            dequeued: 4,
        },
        Evidence::NotReceived {
            pid: 1,
            messages: 2,
        },
        Evidence::Delivering {
            pid: 1,
            channel_id: 2,
            waiting_us: 3,
            unread_items: None,
            requests_behind: 4,
        },
        Evidence::Row {
            relation: Relation::Callee,
            pid: 1,
            serial: 2,
            phase: Phase::Running,
            mark: Some(Mark::EndedWithoutAnswer),
            phase_age_us: 3,
        },
        Evidence::NoRow {
            relation: Relation::Caller,
            pid: 1,
            link: 2,
            read_after_us: 3,
        },
        Evidence::Pairing { basis: "".into() },
        Evidence::Mark {
            mark: Mark::Orphaned,
        },
        Evidence::Connection {
            pid: 1,
            serial: 2,
            state: ConnectionState::Closed,
            state_age_us: 3,
        },
        Evidence::ParentUnknown { pid: 1, calls: 2 },
        Evidence::ChannelEnds {
            reader_gone: true,
            writer_gone: false,
            by_other_process: false,
        },
        Evidence::Process {
            process: process.clone(),
            state: ProcessState::Stopped,
            held_by: None,
        },
        Evidence::Threads {
            pid: 1,
            states: BTreeMap::new(),
        },
        Evidence::Attempts {
            failed: 1,
            no_attempt_us: None,
            last_error: None,
            losses: 2,
        },
        Evidence::Latency {
            pid: 1,
            answered: 2,
            p50_us: 3,
            p99_us: 4,
        },
        Evidence::TimeAlone {
            stuck_us: 1,
            answered: None,
        },
        Evidence::RuntimeBlocked {
            pid: 1,
            blocked: BLOCKED,
        },
        Evidence::Cycle {
            processes: vec![process],
            is_certain: true,
        },
        Evidence::Missing { text: "".into() },
    ]
}

fn graph() -> WaitGraph {
    let method: Arc<str> = "Http.get".into();
    let kinds = [
        NodeKind::Call {
            serial: 1,
            method: method.clone(),
            made_by: MadeBy::NoHandler,
        },
        NodeKind::Handler {
            serial: 2,
            method: method.clone(),
            phase: Phase::Running,
            mark: None,
        },
        NodeKind::Handlers(Box::new(Pile {
            method,
            running: 22,
            calls_out: 1,
            parentless_calls: 0,
            ended_per_second: Some(0.5),
            last_ended_us: Some(1),
        })),
        NodeKind::Driver {
            connection: 3,
            name: "cell-http".into(),
        },
        NodeKind::Process,
    ];
    let process = Arc::new(Process::new(1, "cell"));
    WaitGraph {
        nodes: kinds
            .into_iter()
            .map(|kind| Node {
                process: process.clone(),
                kind,
                age_us: 1,
                code: None,
                verdict: None,
                text: None,
            })
            .collect(),
        edges: vec![Edge {
            from: 0,
            to: 1,
            confidence: Confidence::High,
            basis: Basis::Fixed("the same request"),
        }],
        roots: vec![Root {
            nodes: vec![1],
            deadlock: None,
            waiters: 1,
            oldest_us: 1,
            confidence: Confidence::High,
            is_alarm: true,
        }],
        is_ranking_incomplete: false,
    }
}

/// Keys, and the names that a key distinguishes.
fn names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| self::names(value, names)),
        Value::Object(fields) => {
            for (key, value) in fields {
                names.insert(key.clone());
                if ["gap", "fact", "node", "finding"].contains(&key.as_str()) {
                    names.extend(value.as_str().map(str::to_owned));
                }
                self::names(value, names);
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_of_the_json_is_documented() {
    let mut snapshot = everything_that_can_be_odd();
    snapshot.gaps.push(Gap::Invalid { count: 1 });
    snapshot.findings = findings();
    snapshot.requests[0].verdict = Some(Arc::new(Verdict {
        index: 0,
        code: Code::HandlerRunning,
        text: "".into(),
        evidence: evidence().into(),
    }));
    snapshot.connections[0].driver = Some(Driver {
        polled_age_us: 1,
        writing_us: None,
        enqueued: 2,
        dequeued: 3,
    });
    let dump = Dump {
        verdicts: snapshot.requests[0].verdict.clone().into_iter().collect(),
        graph: Some(graph()),
        ..dump(snapshot)
    };
    let mut found = BTreeSet::new();
    names(&serde_json::to_value(&dump).unwrap(), &mut found);
    let documentation = include_str!("../../docs/json.md");
    let documented: BTreeSet<_> = documentation
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.split('.'))
        .map(|name| name.trim_end_matches("[]"))
        .collect();
    found.retain(|name| !documented.contains(name.as_str()));
    assert_eq!(found, BTreeSet::new());
}
