//! One rule at a time: what is changed about an ordinary stuck call, and the
//! verdicts that its two rows get for it.

use roam_diagnostic::registry::{ConnectionState, Mark, Phase, RequestKind};
use roam_dump::analysis::{Facts, Neighbour, Peer, Via};
use roam_dump::model::{Code, ProcessState};
use roam_dump::model::{Delivering, Gap};
use serde_json::{Value, json};

use super::world::{Call, Link, SECOND, World};

/// A host in a call to a cell for 45 s.
struct Stuck {
    world: World,
    host: usize,
    cell: usize,
    link: Link,
    call: Call,
}

fn stuck() -> Stuck {
    let mut world = World::new();
    let host = world.process("demo-host");
    let cell = world.process("cell-http");
    let link = world.connect(host, cell, 60 * SECOND);
    world.set_driver(link.ends[0], 10_000, 5, 5);
    world.set_driver(link.ends[1], 10_000, 5, 5);
    let call = world.call(host, link, "Http.get", 45 * SECOND);
    Stuck {
        world,
        host,
        cell,
        link,
        call,
    }
}

/// Each side's code, and words that its text has.
type Expected = Option<(Code, &'static str)>;

fn check(change: impl FnOnce(&mut Stuck), caller: Expected, callee: Expected) {
    let mut stuck = stuck();
    change(&mut stuck);
    stuck.world.explain();
    for (side, row, expected) in [
        ("caller", stuck.call.caller, caller),
        ("callee", stuck.call.callee, callee),
    ] {
        let verdict = stuck.world.verdict(row.serial);
        assert_eq!(
            verdict.as_ref().map(|verdict| verdict.code),
            expected.map(|(code, _)| code),
            "{side}: {verdict:?}"
        );
        if let (Some(verdict), Some((_, words))) = (verdict, expected) {
            assert!(verdict.text.contains(words), "{side}: {}", verdict.text);
        }
    }
}

#[test]
fn handler_running() {
    check(
        |_| {},
        Some((
            Code::HandlerRunning,
            "the handler in cell-http[4002] has run for 44.9s",
        )),
        Some((
            Code::HandlerRunning,
            "it has no call out; it computes, or waits",
        )),
    );
}

#[test]
fn handler_running_names_the_call_that_it_waits_for() {
    check(
        |stuck| {
            let next = stuck.world.process("cell-markdown");
            let link = stuck.world.connect(stuck.cell, next, 50 * SECOND);
            stuck
                .world
                .call_from(stuck.call.callee, link, "Markdown.render", 44 * SECOND);
        },
        Some((
            Code::HandlerRunning,
            "it waits for Markdown.render (req_id=1, 44.0s)",
        )),
        Some((
            Code::HandlerRunning,
            "it waits for Markdown.render (req_id=1, 44.0s)",
        )),
    );
}

#[test]
fn young_rows_get_no_verdict() {
    check(
        |stuck| {
            for row in [stuck.call.caller, stuck.call.callee] {
                stuck.world.request(row).age_us = 999_999;
            }
        },
        None,
        None,
    );
}

#[test]
fn not_sent() {
    for (phase, words) in [
        (
            Phase::Queued,
            "the request waits for room in the driver's queue (length 3)",
        ),
        (
            Phase::HandedOver,
            "the request is in the driver's queue (length 3); the driver last ran 0.0s ago",
        ),
    ] {
        check(
            |stuck| {
                stuck.world.forget(stuck.call.callee);
                stuck.world.request(stuck.call.caller).phase = phase;
                stuck.world.set_driver(stuck.link.ends[0], 10_000, 8, 5);
            },
            Some((Code::NotSent, words)),
            None,
        );
    }
}

#[test]
fn not_sent_by_a_driver_without_a_heartbeat() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            stuck.world.request(stuck.call.caller).phase = Phase::HandedOver;
            stuck.world.connection(stuck.link.ends[0]).driver = None;
        },
        Some((
            Code::NotSent,
            "not sent: the request is in the driver's queue",
        )),
        None,
    );
}

#[test]
fn runtime_starved_before_sending() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            stuck.world.request(stuck.call.caller).phase = Phase::HandedOver;
            stuck
                .world
                .set_driver(stuck.link.ends[0], 45 * SECOND, 8, 5);
        },
        Some((
            Code::RuntimeStarved,
            "not sent: the driver has work and last ran 45.0s ago",
        )),
        None,
    );
}

#[test]
fn runtime_starved_at_the_peer() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            stuck.world.find_sockets(stuck.link);
            let received = &mut stuck.world.connection(stuck.link.ends[1]).received;
            received.as_mut().unwrap().messages -= 1;
            stuck
                .world
                .set_driver(stuck.link.ends[1], 46 * SECOND, 5, 5);
        },
        Some((
            Code::RuntimeStarved,
            "not read by cell-http[4002]: its driver has work and last ran 46.0s",
        )),
        None,
    );
}

#[test]
fn a_driver_without_work_is_not_starved() {
    check(
        |stuck| {
            stuck
                .world
                .set_driver(stuck.link.ends[0], 46 * SECOND, 5, 5);
            stuck
                .world
                .set_driver(stuck.link.ends[1], 46 * SECOND, 5, 5);
        },
        Some((Code::HandlerRunning, "")),
        Some((Code::HandlerRunning, "")),
    );
}

#[test]
fn write_blocked() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            stuck.world.request(stuck.call.caller).phase = Phase::HandedOver;
            let driver = &mut stuck.world.connection(stuck.link.ends[0]).driver;
            driver.as_mut().unwrap().writing_us = Some(44 * SECOND);
        },
        Some((Code::WriteBlocked, "in a write to the transport for 44.0s")),
        None,
    );
}

fn block_delivery(stuck: &mut Stuck, end: usize) {
    stuck.world.connection(stuck.link.ends[end]).delivering = Some(Delivering {
        channel_id: 3,
        waiting_us: 40 * SECOND,
    });
}

#[test]
fn driver_blocked_before_sending() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            stuck.world.request(stuck.call.caller).phase = Phase::Queued;
            block_delivery(stuck, 0);
        },
        Some((
            Code::DriverBlocked,
            "not sent: the driver has waited 40.0s for room in the buffer of channel 3",
        )),
        None,
    );
}

#[test]
fn driver_blocked_at_the_peer() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            block_delivery(stuck, 1);
        },
        Some((
            Code::DriverBlocked,
            "not read by cell-http[4002]: its driver has waited 40.0s",
        )),
        None,
    );
}

#[test]
fn a_response_behind_the_own_blocked_driver() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            block_delivery(stuck, 0);
        },
        Some((
            Code::DriverBlocked,
            "no response can arrive: the driver has waited 40.0s",
        )),
        None,
    );
}

#[test]
fn handler_not_started() {
    check(
        |stuck| stuck.world.request(stuck.call.callee).phase = Phase::Received,
        Some((
            Code::HandlerNotStarted,
            "received the request 44.9s ago and has not started the handler",
        )),
        Some((
            Code::HandlerNotStarted,
            "the runtime has not polled the handler yet",
        )),
    );
}

#[test]
fn response_not_sent() {
    check(
        |stuck| {
            stuck.world.request(stuck.call.callee).phase = Phase::Responding;
            block_delivery(stuck, 1);
        },
        Some((
            Code::ResponseNotSent,
            "has had the response for 44.9s and has not sent it: its driver has waited",
        )),
        Some((
            Code::ResponseNotSent,
            "the response has waited 44.9s to be sent: the driver has waited 40.0s",
        )),
    );
}

#[test]
fn response_not_read() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            let caller = stuck.world.request(stuck.call.caller);
            caller.phase = Phase::Responded;
            caller.phase_age_us = 30 * SECOND;
        },
        Some((Code::ResponseNotRead, "the response arrived 30.0s ago")),
        None,
    );
}

#[test]
fn caller_gone() {
    check(
        |stuck| stuck.world.forget(stuck.call.caller),
        None,
        Some((Code::CallerGone, "demo-host[4001] no longer waits for it")),
    );
    check(
        |stuck| {
            stuck.world.forget(stuck.call.caller);
            stuck.world.request(stuck.call.callee).mark = Some(Mark::Orphaned);
        },
        None,
        Some((Code::CallerGone, "the caller cancelled the call")),
    );
}

/// The evidence of the callee's verdict.
fn callee_evidence(change: impl FnOnce(&mut Stuck)) -> Value {
    let mut stuck = stuck();
    change(&mut stuck);
    stuck.world.explain();
    let verdict = stuck.world.verdict(stuck.call.callee.serial).unwrap();
    serde_json::to_value(&verdict.evidence).unwrap()
}

#[test]
fn evidence_that_nobody_uses_the_response() {
    let mut link = 0;
    let found = callee_evidence(|stuck| {
        link = stuck.link.ends[0].serial;
        stuck.world.forget(stuck.call.caller);
    });
    let no_row = json!({
        "fact": "no_row", "relation": "caller", "pid": 4001, "link": link, "read_after_us": 44_999_000,
    });
    assert_eq!(found[0]["fact"], "pairing");
    assert_eq!(found[1], no_row);

    let orphaned = |stuck: &mut Stuck| {
        stuck.world.request(stuck.call.callee).mark = Some(Mark::Orphaned);
    };
    let mark = json!({ "fact": "mark", "mark": "orphaned" });
    assert_eq!(callee_evidence(orphaned)[0], mark);

    let found = callee_evidence(|stuck| {
        let connection = stuck.world.connection(stuck.link.ends[1]);
        (connection.state, connection.state_age_us) = (ConnectionState::Closed, 20 * SECOND);
    });
    assert_eq!(found[0]["fact"], "connection");
    assert_eq!(found[0]["state"], "closed");
    assert_eq!(found[0]["state_age_us"], 20_000_000);

    let found = callee_evidence(|stuck| {
        stuck.world.request(stuck.call.callee).mark = Some(Mark::EndedWithoutAnswer);
    });
    let mark = json!({ "fact": "mark", "mark": "ended_without_answer" });
    assert_eq!(found[0], mark);
}

#[test]
fn a_caller_whose_row_may_be_lost_is_not_gone() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.caller);
            stuck.world.snapshots[stuck.host].gaps.push(Gap::TableFull {
                table: "requests",
                count: 1,
            });
        },
        None,
        Some((
            Code::HandlerRunning,
            "it has no call out; it computes, or waits",
        )),
    );
}

#[test]
fn connection_closed() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.caller);
            stuck.world.request(stuck.call.callee).mark = Some(Mark::Orphaned);
            let connection = stuck.world.connection(stuck.link.ends[1]);
            connection.state = ConnectionState::Closed;
            connection.state_age_us = 20 * SECOND;
        },
        None,
        Some((Code::ConnectionClosed, "its connection closed 20.0s ago")),
    );
}

#[test]
fn no_answer() {
    check(
        |stuck| {
            stuck.world.request(stuck.call.callee).mark = Some(Mark::EndedWithoutAnswer);
        },
        Some((
            Code::NoAnswer,
            "the handler in cell-http[4002] panicked, or its response did not serialize",
        )),
        Some((Code::NoAnswer, "no response will be sent")),
    );
}

#[test]
fn peer_stopped_and_dead() {
    check(
        |stuck| stuck.world.set_state(stuck.cell, ProcessState::Stopped),
        Some((Code::PeerStopped, "peer cell-http[4002] is stopped")),
        Some((Code::ProcessStopped, "cell-http[4002] is stopped")),
    );
    check(
        |stuck| {
            stuck.world.set_state(stuck.cell, ProcessState::Dead);
            stuck.world.facts.neighbours[0].peer = Peer::Process {
                pid: 4002,
                held_by: Some(4003),
            };
            stuck.world.process("holder");
            stuck.world.trace_only(&[stuck.host]);
        },
        Some((
            Code::PeerDead,
            "peer cell-http[4002] is dead; holder[4003] keeps its end",
        )),
        None,
    );
}

#[test]
fn peers_that_are_not_traced() {
    let silent = "sent; the last message from the peer arrived 60.0s ago; ";
    let untraced = |change: fn(&mut Stuck), words: &'static str| {
        check(
            |stuck| {
                stuck.world.trace_only(&[stuck.host]);
                change(stuck);
            },
            Some((Code::PeerSilent, words)),
            None,
        );
    };
    untraced(|_| {}, silent);
    untraced(|_| {}, "peer cell-http[4002] not traced: name it with -p");
    untraced(
        |stuck| {
            stuck.world.facts.processes[1].untraced =
                Some("it has the published roam-session, which keeps no rows".into());
        },
        "likely peer cell-http[4002] not traced: it has the published roam-session",
    );
    untraced(
        |stuck| {
            stuck.world.facts.processes[0].is_connectivity_known = false;
            stuck.world.facts.neighbours.clear();
        },
        "peer not traced: the sockets of this process cannot be read; name the peer with -p",
    );
    untraced(
        |stuck| stuck.world.facts.neighbours.clear(),
        "shares no socket or memory",
    );
    untraced(
        |stuck| {
            stuck.world.facts.neighbours[0].peer = Peer::Unseen("at 10.0.0.7:9000".into());
        },
        "peer not traced: it is likely at 10.0.0.7:9000",
    );
    check(
        |stuck| {
            stuck.world.facts.neighbours.push(Neighbour {
                pid: 4001,
                peer: Peer::Unseen("10.0.0.7:9000".into()),
                via: Via::Tcp,
            });
            let other = stuck.world.process("other");
            stuck.world.connect(stuck.host, other, 3 * SECOND);
            stuck.world.trace_only(&[stuck.host]);
        },
        Some((
            Code::PeerSilent,
            "peer not traced: it is one of cell-http[4002], 10.0.0.7:9000, other[4003]; name it with -p",
        )),
        None,
    );
}

#[test]
fn a_peer_that_talks_but_does_not_answer() {
    check(
        |stuck| {
            let [host, cell] = stuck.link.ends;
            stuck.world.send(cell, host, 10, 100_000);
            stuck.world.trace_only(&[stuck.host]);
        },
        Some((
            Code::NoResponse,
            "the peer has sent other messages since, the last one 0.1s ago",
        )),
        None,
    );
}

#[test]
fn writes_that_cannot_be_seen() {
    let handed_over = |stuck: &mut Stuck| {
        let caller = stuck.world.request(stuck.call.caller);
        caller.phase = Phase::HandedOver;
        caller.writes_observable = false;
    };
    check(
        handed_over,
        Some((Code::HandlerRunning, "the handler in cell-http[4002]")),
        Some((Code::HandlerRunning, "")),
    );
    check(
        |stuck| {
            handed_over(stuck);
            stuck.world.trace_only(&[stuck.host]);
        },
        Some((Code::NoResponse, "the driver does not report writes")),
        None,
    );
}

#[test]
fn a_driver_that_has_not_run_may_have_left_the_response_unread() {
    let driver_idle = |stuck: &mut Stuck| {
        let end = stuck.link.ends[0];
        stuck.world.set_driver(end, 30 * SECOND, 5, 5);
        stuck.world.trace_only(&[stuck.host]);
    };
    check(
        driver_idle,
        Some((
            Code::NoResponse,
            "sent; the driver of this process last ran 30.0s ago, and a response may be unread since; likely peer cell-http[4002]",
        )),
        None,
    );
    // As in the dump that a process writes of itself.
    check(
        |stuck| {
            driver_idle(stuck);
            stuck.world.facts = Facts::default();
        },
        Some((
            Code::NoResponse,
            "a response may be unread since; peer unknown",
        )),
        None,
    );
    // Its socket is known, and nothing is unread there.
    check(
        |stuck| {
            let [own, other] = stuck.link.ends;
            let socket = stuck.world.find_socket(own, own.serial, other.serial);
            socket.is_in_place = true;
            driver_idle(stuck);
        },
        Some((Code::PeerSilent, "the last message from the peer")),
        None,
    );
}

#[test]
fn a_callee_whose_clock_is_a_tick_ahead_is_no_contradiction() {
    check(
        |stuck| stuck.world.request(stuck.call.callee).age_us = 45 * SECOND + 10_000,
        Some((Code::HandlerRunning, "the handler in cell-http[4002]")),
        Some((Code::HandlerRunning, "it has no call out")),
    );
}

#[test]
fn rows_that_contradict_each_other() {
    check(
        |stuck| stuck.world.forget(stuck.call.callee),
        Some((
            Code::Inconsistent,
            "cell-http[4002] has neither received nor answered it",
        )),
        None,
    );
    check(
        |stuck| stuck.world.request(stuck.call.callee).method_id += 1,
        Some((Code::Inconsistent, "the two ends name different methods")),
        Some((Code::Inconsistent, "the two ends name different methods")),
    );
    check(
        |stuck| stuck.world.request(stuck.call.callee).age_us += SECOND,
        Some((Code::Inconsistent, "the callee started before the caller")),
        Some((Code::Inconsistent, "the callee started before the caller")),
    );
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            stuck.world.snapshots[stuck.cell].gaps.push(Gap::TableFull {
                table: "requests",
                count: 1,
            });
        },
        Some((Code::NoResponse, "its rows are incomplete")),
        None,
    );
}

#[test]
fn contradictions_ask_for_a_second_reading() {
    let mut stuck = stuck();
    assert!(stuck.world.explain().unconfirmed.is_empty());
    stuck.world.forget(stuck.call.callee);
    let asked: Vec<_> = stuck.world.explain().unconfirmed.into_iter().collect();
    assert_eq!(asked, [4001, 4002]);
}

#[test]
fn the_opening_of_a_virtual_connection_has_no_row_at_the_peer() {
    check(
        |stuck| {
            stuck.world.forget(stuck.call.callee);
            stuck.world.request(stuck.call.caller).kind = RequestKind::Connect;
        },
        Some((
            Code::PeerSilent,
            "sent; the last message from the peer arrived 60.0s ago",
        )),
        None,
    );
}
