//! What is usual for the calls of a method, and what is not.

use roam_diagnostic::registry::{Direction, Mark};
use roam_dump::analysis::Thresholds;
use roam_dump::model::{Code, NodeKind, WaitGraph};

use super::world::{Call, Link, SECOND, World};

const MS: u64 = 1_000;
const OUT: Direction = Direction::Outgoing;
const IN: Direction = Direction::Incoming;

/// A gateway in a call to a catalog for 45 s.
struct Polling {
    world: World,
    gateway: usize,
    catalog: usize,
    link: Link,
    call: Call,
}

fn polling() -> Polling {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let catalog = world.process("catalog");
    let link = world.connect(gateway, catalog, 600 * SECOND);
    let call = world.call(gateway, link, "Catalog.poll", 45 * SECOND);
    Polling {
        world,
        gateway,
        catalog,
        link,
        call,
    }
}

/// Each side's code, words that its text has, and how many roots there are.
fn check(
    change: impl FnOnce(&mut Polling),
    thresholds: &Thresholds,
    expected: [Option<(Code, &str)>; 2],
    roots: usize,
) -> WaitGraph {
    let mut polling = polling();
    change(&mut polling);
    let graph = polling.world.explain_by(thresholds).graph;
    for (row, expected) in [polling.call.caller, polling.call.callee]
        .into_iter()
        .zip(expected)
    {
        let verdict = polling.world.verdict(row.serial);
        assert_eq!(
            verdict.as_ref().map(|verdict| verdict.code),
            expected.map(|(code, _)| code),
            "{verdict:?}"
        );
        if let (Some(verdict), Some((_, words))) = (verdict, expected) {
            assert!(verdict.text.contains(words), "{}", verdict.text);
        }
    }
    assert_eq!(graph.roots.len(), roots, "{graph:#?}");
    graph
}

fn answered(polling: &mut Polling, count: u64, percentiles: [u64; 2]) {
    let (gateway, catalog) = (polling.gateway, polling.catalog);
    for (process, direction) in [(gateway, OUT), (catalog, IN)] {
        let world = &mut polling.world;
        world.answered(process, direction, "Catalog.poll", count, percentiles);
    }
}

#[test]
fn a_long_poll_is_usual() {
    let words = "within ten times the p99 of its method; p50 60.1s, p99 65.0s of 1,204 calls";
    let graph = check(
        |polling| answered(polling, 1_204, [60_100 * MS, 65_000 * MS]),
        &Thresholds::default(),
        [Some((Code::Usual, words)); 2],
        0,
    );
    assert!(graph.nodes.is_empty(), "{graph:#?}");
    assert_eq!(graph.alarms(0).first(), None);
}

#[test]
fn a_call_past_ten_times_its_p99_is_stuck() {
    let words = "p50 3.0 ms, p99 12 ms of 81,204 calls";
    for p99_us in [12 * MS, 4_499 * MS] {
        let words = if p99_us == 12 * MS { words } else { "p99 4.4s" };
        check(
            |polling| answered(polling, 81_204, [3 * MS, p99_us]),
            &Thresholds::default(),
            [Some((Code::HandlerRunning, words)); 2],
            1,
        );
    }
}

#[test]
fn below_twenty_answered_calls_the_time_alone_decides() {
    for (count, words) in [
        (0, "judged by its age alone: no call was answered before"),
        (
            1,
            "judged by its age alone: only 1 call was answered before",
        ),
        (
            19,
            "judged by its age alone: only 19 calls were answered before",
        ),
    ] {
        check(
            |polling| answered(polling, count, [60 * SECOND; 2]),
            &Thresholds::default(),
            [Some((Code::HandlerRunning, words)); 2],
            1,
        );
    }
    check(
        |polling| answered(polling, 20, [60 * SECOND; 2]),
        &Thresholds::default(),
        [Some((Code::Usual, "20 calls")); 2],
        0,
    );
}

#[test]
fn a_process_that_has_seen_few_calls_takes_the_other_end_s_word() {
    for (process, direction, [caller, callee]) in [
        (1, IN, ["in catalog[4002]", "1,204 calls"]),
        (0, OUT, ["1,204 calls", "in gateway[4001]"]),
    ] {
        check(
            |polling| {
                let world = &mut polling.world;
                world.answered(process, direction, "Catalog.poll", 1_204, [60 * SECOND; 2]);
            },
            &Thresholds::default(),
            [Some((Code::Usual, caller)), Some((Code::Usual, callee))],
            0,
        );
    }
}

#[test]
fn a_call_is_stuck_by_its_own_measure() {
    let graph = check(
        |polling| {
            let (gateway, catalog) = (polling.gateway, polling.catalog);
            let world = &mut polling.world;
            world.answered(gateway, OUT, "Catalog.poll", 500, [10 * MS; 2]);
            world.answered(catalog, IN, "Catalog.poll", 500, [60 * SECOND; 2]);
        },
        &Thresholds::default(),
        [
            Some((Code::HandlerRunning, "p99 10 ms of 500 calls")),
            Some((Code::Usual, "")),
        ],
        1,
    );
    // What is usual is never the end of a chain.
    let root = graph.roots[0].nodes[0] as usize;
    assert!(matches!(graph.nodes[root].kind, NodeKind::Call { .. }));
}

#[test]
fn a_chain_leads_through_what_is_usual() {
    let mut polling = polling();
    answered(&mut polling, 500, [60 * SECOND; 2]);
    let world = &mut polling.world;
    let db = world.process("db");
    let link = world.connect(polling.catalog, db, 600 * SECOND);
    let get = world.call_from(polling.call.callee, link, "Db.get", 30 * SECOND);
    let graph = world.explain().graph;
    let [root] = graph.roots.as_slice() else {
        panic!("{graph:#?}");
    };
    let NodeKind::Handler { serial, .. } = graph.nodes[root.nodes[0] as usize].kind else {
        panic!("{graph:#?}");
    };
    assert_eq!(serial, get.callee.serial);
    // The usual call above it does not count.
    assert_eq!((root.waiters, root.oldest_us), (1, 30 * SECOND));
    assert_eq!(graph.nodes.len(), 4);
}

#[test]
fn thresholds_of_the_user_hold() {
    let default = Thresholds::default();
    let long = Thresholds {
        stuck_us: 46 * SECOND,
        ..default.clone()
    };
    check(|_| {}, &long, [None, None], 0);
    let of_method = |pattern: &str, stuck_us| Thresholds {
        methods: vec![(pattern.into(), stuck_us)],
        ..default.clone()
    };
    check(
        |_| {},
        &of_method("Catalog.*", 46 * SECOND),
        [None, None],
        0,
    );
    let set = Some((
        Code::HandlerRunning,
        "older than the 5.0s set with --stuck-after",
    ));
    check(
        |polling| answered(polling, 500, [60 * SECOND; 2]),
        &of_method("Catalog.p?ll", 5 * SECOND),
        [set; 2],
        1,
    );
    let other = Some((Code::HandlerRunning, "judged by its age alone"));
    check(|_| {}, &of_method("Orders.*", 46 * SECOND), [other; 2], 1);
}

#[test]
fn the_last_time_that_is_set_for_a_method_holds() {
    let thresholds = Thresholds {
        methods: vec![("*".into(), SECOND), ("Catalog.poll".into(), 46 * SECOND)],
        ..Thresholds::default()
    };
    check(|_| {}, &thresholds, [None, None], 0);
}

#[test]
fn ignored_methods_are_not_judged() {
    let thresholds = Thresholds {
        ignored: vec!["Catalog.*".into()],
        ..Thresholds::default()
    };
    let graph = check(|_| {}, &thresholds, [None, None], 0);
    assert!(graph.nodes.is_empty());
    // The caller may know the id of the method alone.
    check(
        |polling| polling.world.request(polling.call.caller).method = None,
        &thresholds,
        [None, None],
        0,
    );
}

#[test]
fn no_answer_is_never_usual() {
    check(
        |polling| {
            answered(polling, 500, [60 * SECOND; 2]);
            polling.world.request(polling.call.callee).mark = Some(Mark::EndedWithoutAnswer);
        },
        &Thresholds::default(),
        [Some((Code::NoAnswer, "panicked")); 2],
        1,
    );
}

#[test]
fn channels_of_usual_requests_are_not_stuck() {
    for (count, expected) in [(500, None), (0, Some(Code::WriterGone))] {
        let mut polling = polling();
        answered(&mut polling, count, [60 * SECOND; 2]);
        let Call { caller, callee } = polling.call;
        let world = &mut polling.world;
        let [_, receiver] = world.channel(3, caller, callee);
        world.channel_row(receiver).writer_gone = true;
        world.explain();
        let verdict = world.verdict(receiver.serial);
        assert_eq!(verdict.map(|verdict| verdict.code), expected);
    }
}

#[test]
fn a_usual_row_is_no_reason_for_another_look() {
    let mut polling = polling();
    answered(&mut polling, 500, [60 * SECOND; 2]);
    polling.world.set_driver(polling.link.ends[0], 10_000, 5, 5);
    let explanation = polling.world.explain();
    assert!(explanation.unconfirmed.is_empty());
    assert!(!explanation.is_ambiguous);
}
