//! The dump as people and programs see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use roam_diagnostic::registry::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Mark, Phase, RequestKind, Role,
};
use roam_dump::model::{
    Basis, Channel, Code, Confidence, Connection, ConnectionPeer, ConnectionWindow, Delivering,
    Driver, Dump, Edge, Evidence, FindingKind, Gap, MadeBy, Node, NodeKind, Pile, Process,
    ProcessDetails, ProcessFinding, ProcessState, Relation, Request, Root, RuntimeBlocked,
    SCHEMA_VERSION, Severity, Snapshot, Source, Traffic, Verdict, WaitGraph, Window,
};
use roam_dump::render::{json, text};
use serde_json::Value;
use textwrap::core::display_width;

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
        hubs: Vec::new(),
        graph: None,
    }
}

fn as_text(snapshot: Snapshot) -> String {
    text_of(&dump(snapshot))
}

fn text_of(dump: &Dump) -> String {
    laid_out(dump, &plain())
}

/// As it goes to a file, in a fixed time zone.
fn plain() -> text::Options {
    text::Options {
        time_zone: TimeZone::UTC,
        ..text::Options::plain()
    }
}

fn laid_out(dump: &Dump, options: &text::Options) -> String {
    let mut out = Vec::new();
    text::render(&mut out, dump, options).unwrap();
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
    check_widths("one_hung_call", &dump(one_hung_call()), false);
}

#[test]
fn text_of_nothing_in_flight() {
    check_widths("nothing_in_flight", &dump(snapshot()), false);
}

/// The line below the title of a dump with an empty wait graph.
#[track_caller]
fn check_summary(snapshot: Snapshot, expected: &str) {
    let dump = Dump {
        graph: Some(WaitGraph::default()),
        ..dump(snapshot)
    };
    assert_eq!(text_of(&dump).lines().nth(2).unwrap(), expected);
}

fn verdict(code: Code, text: &str) -> Option<Arc<Verdict>> {
    Some(Arc::new(Verdict {
        index: 0,
        code,
        text: text.into(),
        evidence: Arc::new([]),
    }))
}

#[test]
fn a_healthy_dump_says_so_in_one_line() {
    let with = |age_us, verdict| {
        let mut snapshot = snapshot();
        snapshot.requests = vec![request(1, "Http.get", Phase::Sent, age_us)];
        snapshot.requests[0].verdict = verdict;
        snapshot
    };
    check_summary(
        snapshot(),
        "healthy: nothing is stuck; no request in flight · source: registry · complete",
    );
    check_summary(
        with(5 * SECOND, verdict(Code::Usual, "")),
        "healthy: nothing is stuck; 1 outgoing, 0 incoming in flight, the oldest 5.0s · source: registry · complete",
    );
    check_summary(
        with(86_400 * SECOND, verdict(Code::PeerSilent, "")),
        "1 request stuck, the oldest for 24h 00m (since 2026-11-19 10:12:03); 1 outgoing, 0 incoming in flight",
    );
    check_summary(
        everything_that_can_be_odd(),
        "no request is stuck; 2 outgoing, 2 incoming in flight, the oldest 11h 06m",
    );
}

#[test]
fn hidden_rows_are_counted_in_the_heading() {
    let mut snapshot = one_hung_call();
    snapshot.retain_older(20 * SECOND);
    let text = as_text(snapshot);
    let heading = "source: registry · complete · 1 younger row hidden (--min-age)\n";
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

/// The verdict of a call whose handler runs in that process.
fn served_by(pid: u32, request_id: u64) -> Option<Arc<Verdict>> {
    let evidence = Evidence::Row {
        relation: Relation::Callee,
        pid,
        serial: (1 << 60) + request_id,
        phase: Phase::Running,
        mark: None,
        phase_age_us: 0,
    };
    Some(Arc::new(Verdict {
        index: 0,
        code: Code::HandlerRunning,
        text: format!("the handler in demo-cell[{pid}] has run for {request_id}.0s").into(),
        evidence: Arc::new([evidence]),
    }))
}

#[test]
fn a_callee_stands_behind_its_caller_though_its_clock_is_behind() {
    let called = |request_id, phase, age_us| request(request_id, "Http.get", phase, age_us);
    let mut host = snapshot();
    host.requests = vec![
        called(1, Phase::Sent, 5 * SECOND),
        called(2, Phase::Sent, 4 * SECOND),
    ];
    host.requests[0].verdict = served_by(4243, 1);
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
        .filter_map(|line| Some(line.split_once("  Http.get")?.0.trim()))
        .collect();
    let expected = [
        "demo-host[4242]  → [req_id=1]",
        "demo-cell[4243]  ← [req_id=1]",
        "demo-host[4242]  → [req_id=2]",
    ];
    assert_eq!(rows, expected);
}

fn connection(state: ConnectionState, name: &str) -> Connection {
    let traffic = |messages| Traffic {
        messages,
        payload_bytes: messages * 500,
        idle_us: (messages > 0).then_some(SECOND),
    };
    Connection {
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
        possible_peers: Vec::new(),
        verdict: None,
    }
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
    let odd = dump(everything_that_can_be_odd());
    check_widths("everything_that_can_be_odd", &odd, false);
}

fn details(uptime_us: u64) -> Option<ProcessDetails> {
    Some(ProcessDetails {
        command_line: Some("/usr/lib/demo/demo-host --listen /run/demo.sock --cells 2".into()),
        uid: 1000,
        user_name: Some("demo".into()),
        uptime_us,
    })
}

/// A host with calls to a cell, of which 40 and a deaf one are stuck, and the cell.
fn overload() -> Dump {
    let mut host = snapshot();
    host.details = details(3_700 * SECOND);
    host.requests = (1..=40)
        .map(|request_id| {
            let age_us = (60 - request_id) * SECOND;
            let mut row = request(request_id, "ContentService.compile", Phase::Sent, age_us);
            row.verdict = served_by(4243, request_id);
            row.arguments = Some(format!("page: \"/guide/{request_id}\"").into());
            row
        })
        .collect();
    let mut deaf = request(93, "数据.读取", Phase::HandedOver, 19 * SECOND);
    deaf.verdict = verdict(
        Code::WriteBlocked,
        "the driver has been in a write for 18.9s that the transport does not accept: the peer does not read what it is sent",
    );
    host.requests.push(deaf);
    host.requests
        .push(request(94, "Http.get", Phase::Sent, SECOND / 5));
    host.channels = (1..=30)
        .map(|channel_id| Channel {
            bytes_sent: 1_000 * channel_id,
            items_sent: channel_id,
            idle_us: Some(channel_id * SECOND),
            request_id: Some(channel_id),
            ..channel(channel_id, ChannelDirection::Tx)
        })
        .collect();
    host.connections = vec![Connection {
        peer: Some(ConnectionPeer {
            process: Process::new(4243, "demo-cell"),
            confidence: Confidence::Known,
        }),
        ..connection(ConnectionState::Open, "cell-http")
    }];
    let process = Process::new(4243, "demo-cell");
    let mut cell = Snapshot::new(process, Source::Registry, 60 * 1_000_000_000);
    cell.details = details(3_600 * SECOND);
    cell.requests = (1..=40)
        .map(|request_id| {
            let age_us = (60 - request_id) * SECOND;
            let mut row = request(request_id, "ContentService.compile", Phase::Running, age_us);
            row.verdict = verdict(Code::HandlerRunning, "the handler has not returned");
            row
        })
        .collect();
    cell.channels = vec![channel(2, ChannelDirection::Rx)];
    cell.gaps = vec![Gap::Torn { count: 2 }];
    let graph = overload_graph(&host, &cell);
    Dump {
        processes: vec![host, cell],
        graph: Some(graph),
        ..dump(snapshot())
    }
}

/// Every call of the host waits for its handler in the cell.
fn overload_graph(host: &Snapshot, cell: &Snapshot) -> WaitGraph {
    let method: Arc<str> = "ContentService.compile".into();
    let processes = [host, cell].map(|snapshot| Arc::new(snapshot.process.clone()));
    let mut graph = WaitGraph::default();
    for row in &cell.requests {
        let handler = NodeKind::Handler {
            serial: row.serial,
            request_id: row.request_id,
            method: method.clone(),
            phase: row.phase,
            mark: None,
        };
        let call = NodeKind::Call {
            serial: row.serial,
            request_id: row.request_id,
            method: method.clone(),
            made_by: MadeBy::NoHandler,
        };
        let [from, to] = [1, 0].map(|behind| graph.nodes.len() as u32 + behind);
        for (process, kind, verdict) in [
            (&processes[1], handler, row.verdict.clone()),
            (&processes[0], call, None),
        ] {
            graph.nodes.push(Node {
                process: process.clone(),
                kind,
                age_us: row.age_us,
                code: None,
                verdict,
                text: None,
            });
        }
        graph.edges.push(Edge {
            from,
            to,
            confidence: Confidence::Known,
            basis: Basis::Fixed("the same request"),
        });
        graph.roots.push(Root {
            nodes: vec![to],
            deadlock: None,
            waiters: 1,
            oldest_us: row.age_us,
            confidence: Confidence::Known,
            is_alarm: true,
        });
    }
    graph
}

/// Compares the text with its snapshots, on the narrowest terminal and in a file.
#[track_caller]
fn check_widths(name: &str, dump: &Dump, is_full: bool) {
    for width in [text::Options::MIN_WIDTH, text::Options::FILE_WIDTH] {
        let options = text::Options {
            width,
            is_full,
            ..plain()
        };
        let text = laid_out(dump, &options);
        // However wide the characters are.
        for line in text.lines() {
            assert!(display_width(line) <= width, "{line}");
        }
        insta::assert_snapshot!(format!("{name}_at_{width}"), text);
    }
}

fn one_process(mut dump: Dump) -> Dump {
    dump.processes.truncate(1);
    dump
}

#[test]
fn text_that_is_folded() {
    check_widths("folded", &one_process(overload()), false);
}

#[test]
fn text_of_several_processes() {
    check_widths("several_processes", &overload(), false);
}

#[test]
fn text_in_full() {
    let mut dump = overload();
    for snapshot in &mut dump.processes {
        snapshot.requests.truncate(3);
        snapshot.channels.truncate(3);
    }
    let cell = &dump.processes[1];
    dump.graph = Some(overload_graph(&dump.processes[0], cell));
    check_widths("in_full", &dump, true);
}

/// The lines with a color, without the escape sequences but with its name.
#[test]
fn what_is_stuck_is_red_and_what_is_slow_is_yellow() {
    let mut dump = one_process(overload());
    dump.processes[0].requests[41].verdict = verdict(Code::Usual, "usual");
    dump.processes[0].channels.clear();
    let options = text::Options {
        color: true,
        ..plain()
    };
    let text = laid_out(&dump, &options);
    let colored = text.lines().filter_map(|line| {
        let (before, rest) = line.split_once("\u{1b}[3")?;
        let (color, rest) = rest.split_once('m')?;
        let text: String = rest
            .trim_end_matches("\u{1b}[0m")
            .chars()
            .take(40)
            .collect();
        assert!(rest.ends_with("\u{1b}[0m"), "{line:?}");
        let color = if color == "1" { "red" } else { "yellow" };
        Some(format!("{color}: {before}{text}\n"))
    });
    insta::assert_snapshot!(colored.collect::<String>());
}

#[test]
fn a_hundred_thousand_alike_calls_are_a_screenful() {
    let mut snapshot = snapshot();
    snapshot.requests = (0..100_000)
        .map(|request_id| {
            let mut row = request(request_id, "Http.get", Phase::Sent, request_id * 1_000);
            row.verdict = served_by(4243, request_id);
            row
        })
        .collect();
    let text = as_text(snapshot);
    assert!(text.lines().count() < 30, "{text}");
    assert!(text.contains("×100,000"), "{text}");
}

#[test]
fn text_of_findings() {
    let mut snapshot = snapshot();
    snapshot.findings = findings();
    snapshot.findings.truncate(2);
    check_widths("findings", &dump(snapshot), false);
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
fn evidence() -> [Evidence; 20] {
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
        Evidence::Unread { pid: 1, bytes: 2 },
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
            request_id: 11,
            method: method.clone(),
            made_by: MadeBy::NoHandler,
        },
        NodeKind::Handler {
            serial: 2,
            request_id: 12,
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
