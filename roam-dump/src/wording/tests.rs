//! Every sentence, in one snapshot that can be read through.

use std::collections::BTreeMap;

use roam_trace_common::event::{Direction, Phase, RequestKind};

use super::*;
use crate::analysis::Endpoint;
use crate::model::{NodeKind, Pile, RuntimeBlocked, Source};

const HOST: u32 = 0;
const CELL: u32 = 1;
const HOST_PID: u32 = 4001;
const CELL_PID: u32 = 4002;
const WORKER_PID: u32 = 4003;
/// A process without facts.
const UNKNOWN_PID: u32 = 4009;
/// The call, and the handler of it.
const CALL: RowId = RowId {
    process: HOST,
    index: 0,
};
const UPLOAD: RowId = RowId {
    process: CELL,
    index: 0,
};
const BY_UPLOAD: ChannelReader = ChannelReader::Request(UPLOAD);
const SECOND: u64 = 1_000_000;

fn process(pid: u32, name: &str) -> Process {
    Process::new(pid, name)
}

fn snapshot(process: Process, requests: Vec<Request>) -> Snapshot {
    Snapshot {
        requests,
        ..Snapshot::new(process, Source::Registry, 0)
    }
}

fn upload() -> Request {
    Request {
        serial: 1,
        source: Source::Registry,
        direction: Direction::Outgoing,
        kind: RequestKind::Call,
        connection: 2,
        connection_name: None,
        parent: None,
        request_id: 7,
        method_id: 3,
        method: Some("TcpTunnel.upload".into()),
        arguments: None,
        phase: Phase::Sent,
        writes_observable: true,
        mark: None,
        age_us: 44 * SECOND,
        phase_age_us: 44 * SECOND,
        request_bytes: 0,
        response_bytes: None,
        verdict: None,
    }
}

fn facts() -> Facts {
    let facts = |pid, name, state, untraced: Option<&str>| ProcessFacts {
        process: process(pid, name),
        state,
        threads: BTreeMap::new(),
        is_connectivity_known: true,
        descriptors: None,
        untraced: untraced.map(str::to_owned),
    };
    Facts {
        processes: vec![
            facts(HOST_PID, "demo-host", ProcessState::Stopped, None),
            facts(CELL_PID, "cell-http", ProcessState::Alive, None),
            facts(
                4003,
                "worker",
                ProcessState::Dead,
                Some("it has no registry"),
            ),
        ],
        ..Facts::default()
    }
}

const PAIRINGS: [PairingBasis; 5] = [
    PairingBasis::Observed {
        via: Some(Via::Unix),
        requests: 1,
        do_counters_match: true,
        opened_apart_us: Some(12_345),
        is_by_elimination: false,
    },
    PairingBasis::Observed {
        via: Some(Via::Tcp),
        requests: 2,
        do_counters_match: false,
        opened_apart_us: None,
        is_by_elimination: true,
    },
    PairingBasis::Observed {
        via: Some(Via::SharedMemory),
        requests: 0,
        do_counters_match: false,
        opened_apart_us: Some(0),
        is_by_elimination: false,
    },
    PairingBasis::Observed {
        via: None,
        requests: 3,
        do_counters_match: false,
        opened_apart_us: None,
        is_by_elimination: false,
    },
    PairingBasis::Sockets(Via::Tcp),
];

fn delivering(reader: ChannelReader) -> DriverStall {
    DriverStall::Delivering {
        at: Endpoint {
            process: CELL,
            serial: 2,
        },
        channel_id: 3,
        waiting_us: 40 * SECOND,
        reader,
    }
}

fn stalls() -> Vec<Reason> {
    let stalled = |stall, held_up| Reason::DriverStalled { stall, held_up };
    let writing = DriverStall::Writing {
        waiting_us: 44 * SECOND,
    };
    let not_polled = DriverStall::NotPolled {
        polled_age_us: 46 * SECOND,
    };
    let mut reasons = vec![
        stalled(delivering(ChannelReader::Unknown), HeldUp::Link),
        stalled(delivering(ChannelReader::RequestEnded), HeldUp::Link),
        stalled(delivering(ChannelReader::Request(CALL)), HeldUp::Link),
    ];
    for stall in [delivering(BY_UPLOAD), writing, not_polled] {
        for held_up in [
            HeldUp::Link,
            HeldUp::Request,
            HeldUp::Response,
            HeldUp::Unread { process: CELL },
            HeldUp::Items { process: HOST },
        ] {
            reasons.push(stalled(stall, held_up));
        }
    }
    reasons
}

fn processes() -> Vec<Reason> {
    let mut reasons = Vec::new();
    for state in [ProcessState::Stopped, ProcessState::Dead] {
        let pid = CELL_PID;
        reasons.push(Reason::ProcessNotAlive { pid, state });
        for (held_by, is_likely) in [(None, false), (None, true), (Some(HOST_PID), true)] {
            reasons.push(Reason::PeerNotAlive {
                pid,
                state,
                held_by,
                is_likely,
            });
        }
    }
    reasons.push(Reason::ProcessNotAlive {
        pid: UNKNOWN_PID,
        state: ProcessState::Dead,
    });
    reasons
}

fn contradictions() -> Vec<Reason> {
    [
        Contradiction::OtherMethod,
        Contradiction::CalleeFirst,
        Contradiction::RespondedWhileRunning,
    ]
    .map(|why| Reason::Contradiction {
        processes: [HOST, CELL],
        why,
    })
    .into()
}

const CALLS: [Option<MadeCalls>; 3] = [
    None,
    Some(MadeCalls {
        first: CALL,
        more: 0,
    }),
    Some(MadeCalls {
        first: CALL,
        more: 4,
    }),
];

fn calls() -> Vec<Reason> {
    let (process, age_us) = (CELL, 45 * SECOND);
    let mut reasons = vec![
        CallReason::ResponseNotRead { age_us },
        CallReason::NoAnswer { process },
        CallReason::NotStarted { process, age_us },
        CallReason::NoRow { process },
        CallReason::RowsIncomplete { process },
        CallReason::NoSlot,
        CallReason::NotInRing,
    ];
    let activity = DriverActivity {
        queue_length: 3,
        polled_age_us: 2 * SECOND,
    };
    for cause in [
        RingCause::MissedWakeUp,
        RingCause::NotDrained,
        RingCause::NotRead,
        RingCause::ReaderStopped,
        RingCause::ReaderDead,
    ] {
        for (direction, reader) in [
            (HubDirection::ToHost, None),
            (HubDirection::ToPeer, Some(CELL_PID)),
        ] {
            reasons.push(CallReason::InRing(RingStall {
                cause,
                peer: 1,
                direction,
                messages: 3,
                reader,
                is_response: reader.is_none(),
            }));
        }
    }
    for queue in [Queue::Full, Queue::Entered] {
        for driver in [None, Some(activity)] {
            reasons.push(CallReason::NotSent { queue, driver });
        }
    }
    for calls in CALLS {
        reasons.push(CallReason::Running {
            process,
            age_us,
            calls,
        });
    }
    for stall in [None, Some(delivering(BY_UPLOAD))] {
        reasons.push(CallReason::NotResponded {
            process,
            age_us,
            stall,
        });
    }
    reasons.into_iter().map(Reason::Call).collect()
}

fn peers() -> Vec<PeerIdentity> {
    let untraced = |pid| PeerIdentity::Process { pid, held_by: None };
    let peers = [CELL_PID, WORKER_PID].map(|pid| Peer::Process { pid, held_by: None });
    let [cell, worker] = peers;
    let unseen = || Peer::Unseen("at 10.0.0.7:9000".into());
    vec![
        PeerIdentity::Link(Endpoint {
            process: CELL,
            serial: 2,
        }),
        PeerIdentity::OneOfLinks(4),
        PeerIdentity::LinkOf {
            pid: CELL_PID,
            candidates: 4,
            is_likely: false,
        },
        PeerIdentity::LinkOf {
            pid: CELL_PID,
            candidates: 0,
            is_likely: true,
        },
        untraced(CELL_PID),
        untraced(WORKER_PID),
        PeerIdentity::Unseen("at 10.0.0.7:9000".into()),
        PeerIdentity::OneOf {
            peers: vec![cell.clone(), unseen()],
            more: 0,
        },
        PeerIdentity::OneOf {
            peers: vec![cell, worker, unseen()],
            more: 2,
        },
        PeerIdentity::NoneFits {
            peers: vec![Peer::Process {
                pid: CELL_PID,
                held_by: None,
            }],
            more: 0,
        },
        PeerIdentity::NotFound,
        PeerIdentity::ConnectivityUnknown,
        PeerIdentity::NotSought,
    ]
}

/// Every peer once, and everything that may have been heard of one.
fn unanswered() -> Vec<Reason> {
    let idle_us = 60 * SECOND;
    let unread = |is_likely| Heard::Unread {
        bytes: 517,
        is_likely,
    };
    let others = [
        Heard::FromOneOf,
        Heard::Unobserved,
        unread(false),
        unread(true),
        Heard::DriverIdle { idle_us },
        Heard::Before { idle_us },
        Heard::Others { idle_us },
    ];
    let all_peers = peers().into_iter().map(|peer| (Heard::Never, peer));
    let all_heard = others.map(|heard| (heard, PeerIdentity::OneOfLinks(4)));
    all_peers
        .chain(all_heard)
        .map(|(heard, peer)| Reason::Call(CallReason::Unanswered { heard, peer }))
        .collect()
}

fn handlers() -> Vec<Reason> {
    let age_us = 45 * SECOND;
    let mut reasons = vec![
        HandlerReason::NoAnswer,
        HandlerReason::ConnectionClosed { age_us },
        HandlerReason::Cancelled,
        HandlerReason::NotStarted,
    ];
    for pairing in [None, Some(PairingId(0))] {
        reasons.push(HandlerReason::CallerGone {
            process: HOST,
            pairing,
        });
    }
    for stall in [None, Some(delivering(BY_UPLOAD))] {
        reasons.push(HandlerReason::NotResponded { age_us, stall });
    }
    reasons.extend(CALLS.into_iter().flatten().map(HandlerReason::InCalls));
    reasons
        .extend([0, 1, 1_200].map(|parentless_calls| HandlerReason::Running { parentless_calls }));
    reasons.into_iter().map(Reason::Handler).collect()
}

fn channels() -> Vec<Reason> {
    let mut reasons = vec![ChannelReason::BufferFull {
        unread: 1_024,
        waiting_us: 12 * SECOND,
    }];
    for missing_in in [None, Some(CELL)] {
        reasons.push(ChannelReason::ReaderGone { missing_in });
        for unread in [0, 7] {
            reasons.push(ChannelReason::WriterGone { unread, missing_in });
        }
    }
    reasons.into_iter().map(Reason::Channel).collect()
}

fn connections() -> Vec<Reason> {
    let refused: Option<Arc<str>> = Some("connection refused".into());
    [
        (None, 0, 0, None),
        (None, 1, 1, refused.clone()),
        (Some(30 * SECOND), 3, 0, refused),
    ]
    .map(
        |(no_attempt_us, attempts, losses, last_error)| Reason::NotConnected {
            since_us: 45 * SECOND,
            no_attempt_us,
            attempts,
            losses,
            last_error,
        },
    )
    .into()
}

const BLOCKED: RuntimeBlocked = RuntimeBlocked {
    idle_us: 12 * SECOND,
    starved_links: 4,
    open_links: 5,
    unread_bytes: 12_345,
};

fn blocked() -> Vec<Reason> {
    let read = RuntimeBlocked {
        starved_links: 1,
        open_links: 1,
        unread_bytes: 0,
        ..BLOCKED
    };
    [BLOCKED, read]
        .map(|blocked| Reason::RuntimeBlocked {
            process: CELL,
            blocked,
        })
        .into()
}

/// What follows a sentence about a request.
fn measures() -> String {
    let latency = |process, is_own| Measure::Latency {
        stuck_us: SECOND,
        p50_us: 3_000,
        p99_us: 12_000,
        answered: 81_204,
        process,
        is_own,
    };
    let too_few = |answered| Measure::TooFew {
        stuck_us: SECOND,
        answered,
    };
    let set = Measure::Set {
        stuck_us: 5 * SECOND,
    };
    let snapshots = snapshots();
    [
        too_few(None),
        too_few(Some(0)),
        too_few(Some(1)),
        set,
        latency(HOST, true),
        latency(CELL, false),
    ]
    .map(|measure| format!("- {}\n", measure::text(&measure, &snapshots)))
    .concat()
}

fn findings() -> String {
    let lost = |links| FindingKind::LinksLost {
        links,
        name: "db".into(),
        since_us: 45 * SECOND,
        no_attempt_us: (links == 4).then_some(2 * SECOND),
        attempts: 12,
        losses: 1,
        last_error: Some("connection refused".into()),
    };
    let unread = |links| FindingKind::UnreadBytes {
        unread_bytes: 12_345,
        links,
    };
    [
        FindingKind::Stopped,
        FindingKind::Dead,
        FindingKind::RuntimeBlocked(BLOCKED),
        unread(1),
        unread(3),
        lost(1),
        lost(4),
        FindingKind::TableNearFull {
            table: "requests",
            used: 120_000,
            capacity: 131_072,
        },
        FindingKind::DescriptorsNearLimit {
            open: 950,
            limit: 1_024,
        },
    ]
    .map(|kind| format!("- {}\n", process::finding(&kind)))
    .concat()
}

fn piles() -> String {
    let pile = |parentless_calls, ended_per_second, last_ended_us| {
        let kind = NodeKind::Handlers(Box::new(Pile {
            method: "Orders.place".into(),
            running: 22,
            calls_out: 1,
            parentless_calls,
            ended_per_second,
            last_ended_us,
        }));
        format!("- {}\n", pile(&kind).unwrap_or_default())
    };
    [
        (0, None, None),
        (1, None, None),
        (2_000, None, None),
        (0, None, Some(300_000)),
        (0, Some(40.0), Some(10_000)),
        (0, Some(0.0), Some(300_000)),
        (0, Some(0.0), Some(45 * SECOND)),
        (0, Some(0.0), None),
    ]
    .map(|(calls, rate, last)| pile(calls, rate, last))
    .concat()
}

fn cycles() -> Vec<Cycle> {
    let [host, cell] = [
        process(HOST_PID, "demo-host"),
        process(CELL_PID, "cell-http"),
    ];
    [true, false]
        .into_iter()
        .flat_map(|is_certain| {
            let processes = [vec![host.clone()], vec![host.clone(), cell.clone()]];
            processes.map(|processes| Cycle {
                processes,
                is_certain,
                requests: Vec::new(),
            })
        })
        .collect()
}

fn verdicts(wording: &Wording<'_>) -> Vec<Verdict> {
    let reasons = [
        processes(),
        stalls(),
        contradictions(),
        connections(),
        blocked(),
        vec![Reason::Usual],
        calls(),
        unanswered(),
        handlers(),
        channels(),
    ];
    let mut verdicts: Vec<Verdict> = reasons
        .into_iter()
        .flatten()
        .map(|reason| {
            let cause = Cause {
                code: reason.code(),
                reason,
                evidence: Vec::new().into(),
            };
            wording.verdict(&cause, None)
        })
        .collect();
    let in_cycle = Verdict {
        index: 0,
        code: Code::HandlerRunning,
        text: "(its own sentence)".into(),
        evidence: Vec::new().into(),
    };
    let deadlocks = cycles();
    let deadlocks = deadlocks.iter();
    verdicts.extend(deadlocks.map(|cycle| wording.in_cycle(cycle, &in_cycle)));
    verdicts
}

fn by_code(verdicts: Vec<Verdict>) -> String {
    let mut by_code: BTreeMap<Code, String> = BTreeMap::new();
    for verdict in verdicts {
        let text = by_code.entry(verdict.code).or_default();
        *text += &format!("- {}\n", verdict.text);
        for evidence in verdict.evidence.iter() {
            match evidence {
                Evidence::Missing { text: missing } => {
                    *text += &format!("    missing: {missing}\n");
                }
                Evidence::Pairing { basis } => *text += &format!("    pairing: {basis}\n"),
                _ => {}
            }
        }
    }
    by_code
        .into_iter()
        .map(|(code, text)| format!("{code}\n{text}\n"))
        .collect()
}

fn bases(wording: &Wording<'_>) -> String {
    let fixed = [
        WaitBasis::OwnProcess,
        WaitBasis::ProcessState,
        WaitBasis::LikelyPeer,
        WaitBasis::OwnConnection,
        WaitBasis::ChannelOwner,
        WaitBasis::RecordedParent,
        WaitBasis::InsideProcess,
        WaitBasis::LongestCallOut,
        WaitBasis::OnlyCandidate,
    ];
    let pairings = (0..PAIRINGS.len() as u32).map(|id| WaitBasis::Pairing(PairingId(id)));
    fixed
        .into_iter()
        .chain(pairings)
        .map(|basis| format!("- {}\n", wording.basis(basis).as_str()))
        .collect()
}

fn process_nodes(wording: &Wording<'_>) -> String {
    [HOST_PID, CELL_PID, WORKER_PID, UNKNOWN_PID]
        .into_iter()
        .filter_map(|pid| wording.process_state(pid))
        .map(|text| format!("- {text}\n"))
        .collect()
}

fn snapshots() -> [Snapshot; 2] {
    let mut in_cell = upload();
    in_cell.direction = Direction::Incoming;
    [
        snapshot(process(HOST_PID, "demo-host"), vec![upload()]),
        snapshot(process(CELL_PID, "cell-http"), vec![in_cell]),
    ]
}

#[test]
fn every_sentence() {
    let snapshots = snapshots();
    let facts = facts();
    let wording = Wording::new(&snapshots, &facts, &PAIRINGS);
    insta::assert_snapshot!(format!(
        "{}(what an age was compared with)\n{}\n(basis of an edge)\n{}\n(node of a process)\n{}\n(finding about a process)\n{}\n(many handlers)\n{}",
        by_code(verdicts(&wording)),
        measures(),
        bases(&wording),
        process_nodes(&wording),
        findings(),
        piles()
    ));
}

#[test]
fn every_code_is_documented() {
    let snapshots = snapshots();
    let facts = facts();
    let wording = Wording::new(&snapshots, &facts, &PAIRINGS);
    let documentation = include_str!("../../../docs/verdicts.md");
    for verdict in verdicts(&wording) {
        let code = format!("`{}`", verdict.code);
        assert!(documentation.contains(&code), "{code}");
    }
}
