//! Which connection of one process is which of another: several between one
//! pair, with traffic that never rests.

use roam_diagnostic::registry::Phase;
use roam_dump::Explanation;
use roam_dump::analysis::CounterSample;
use roam_dump::model::{Code, Confidence, NodeKind};

use super::world::{Call, End, Link, SECOND, World};

const MS: u64 = 1_000;

/// Two processes with four connections, a stuck call on each with the same id and method.
struct Four {
    world: World,
    links: Vec<Link>,
    calls: Vec<Call>,
}

/// `opened` is how long ago each was opened, `made` how long ago its call was made.
fn four(opened: [u64; 4], made: [u64; 4]) -> Four {
    let mut world = World::new();
    let a = world.process("a");
    let b = world.process("b");
    let links: Vec<_> = opened
        .iter()
        .map(|&age_us| world.connect(a, b, age_us))
        .collect();
    let calls = links
        .iter()
        .zip(made)
        .map(|(&link, age_us)| world.call(a, link, "Content.watch", age_us))
        .collect();
    Four {
        world,
        links,
        calls,
    }
}

/// The callee's row that each caller's row was found to wait for.
fn pairs(four: &mut Four) -> (Vec<Option<u64>>, Explanation) {
    let explanation = four.world.explain();
    let serial = |node: u32| match explanation.graph.nodes[node as usize].kind {
        NodeKind::Call { serial, .. } | NodeKind::Handler { serial, .. } => serial,
        _ => 0,
    };
    let pairs = four
        .calls
        .iter()
        .map(|call| {
            explanation
                .graph
                .edges
                .iter()
                .find(|edge| serial(edge.from) == call.caller.serial)
                .map(|edge| serial(edge.to))
        })
        .collect();
    (pairs, explanation)
}

fn check_all_paired(mut four: Four) {
    let expected: Vec<_> = four
        .calls
        .iter()
        .map(|call| Some(call.callee.serial))
        .collect();
    assert_eq!(pairs(&mut four).0, expected);
}

fn check_none_paired(mut four: Four) {
    assert_eq!(pairs(&mut four).0, [None; 4]);
    for call in &four.calls {
        let verdict = four.world.verdict(call.caller.serial).unwrap();
        assert_eq!(verdict.code, Code::PeerAmbiguous, "{}", verdict.text);
        assert!(
            verdict
                .text
                .contains("the peer is b[4002]: 4 of its connections may be"),
            "{}",
            verdict.text
        );
        assert_eq!(
            four.world.verdict(call.callee.serial).unwrap().code,
            Code::HandlerRunning
        );
    }
}

const SAME: [u64; 4] = [60 * SECOND; 4];

#[test]
fn nothing_tells_them_apart() {
    check_none_paired(four(SAME, [50 * SECOND; 4]));
}

#[test]
fn told_apart_by_when_they_were_opened() {
    let opened = [60, 57, 54, 51].map(|ago| ago * SECOND);
    check_all_paired(four(opened, [50 * SECOND; 4]));
}

#[test]
fn told_apart_by_messages_and_bytes() {
    let mut four = four(SAME, [50 * SECOND; 4]);
    for (count, link) in four.links.clone().into_iter().enumerate() {
        for _ in 0..count {
            four.world.send(link.ends[0], link.ends[1], 100, SECOND);
        }
    }
    check_all_paired(four);
}

#[test]
fn told_apart_by_other_requests() {
    let mut four = four(SAME, [50 * SECOND; 4]);
    for (index, link) in four.links.clone().into_iter().enumerate() {
        // The methods differ, the ids do not.
        let call = four
            .world
            .call(0, link, &format!("Content.method_{index}"), 40 * SECOND);
        four.world.request(call.caller).phase = Phase::Sent;
    }
    check_all_paired(four);
}

#[test]
fn told_apart_while_everything_moves() {
    let mut four = four(
        [60_000 * MS, 59_990 * MS, 59_980 * MS, 59_970 * MS],
        [50 * SECOND; 4],
    );
    let busy = |world: &mut World, links: &[Link], messages: u64| {
        for (index, link) in (0..).zip(links) {
            let [a, b] = link.ends;
            for message in 0..messages + index {
                world.send(a, b, 30 + message % 5 + index, 0);
                world.send(b, a, 60 + message % 3 + index, 0);
            }
        }
    };
    busy(&mut four.world, &four.links, 400);
    let mut before = CounterSample::default();
    four.world
        .snapshots
        .iter()
        .for_each(|snapshot| before.add(snapshot));
    // The second process is read later than the first.
    let first = four.world.snapshots[0].clone();
    busy(&mut four.world, &four.links, 2);
    four.world.snapshots[0] = first;
    let second = four.world.snapshots[1].clone();
    let mut after = CounterSample::default();
    let mut later = four.world.clone();
    later.snapshots[0] = four.world.snapshots[0].clone();
    busy(&mut later, &four.links, 2);
    // What the first process had by the time of the second one's snapshot, and more.
    for link in &four.links {
        let received = later.connection(link.ends[1]).received;
        later.connection(link.ends[0]).sent = received;
        let sent = later.connection(link.ends[1]).sent;
        later.connection(link.ends[0]).received = sent;
    }
    later
        .snapshots
        .iter()
        .for_each(|snapshot| after.add(snapshot));
    four.world.snapshots[1] = second;
    four.world.facts.before = before;
    four.world.facts.after = vec![after];
    check_all_paired(four);
}

#[test]
fn the_last_ones_are_paired_by_elimination() {
    let mut four = four(SAME, [50 * SECOND; 4]);
    for (count, link) in four.links.clone()[1..].iter().enumerate() {
        for _ in 0..=count {
            four.world.send(link.ends[1], link.ends[0], 100, SECOND);
        }
    }
    // Of the first nothing is counted at one end.
    let first = four.links[0].ends[0];
    four.world.connection(first).sent = None;
    let (_, explanation) = pairs(&mut four);
    let confidence = explanation
        .graph
        .edges
        .iter()
        .map(|edge| edge.confidence)
        .min();
    assert_eq!(confidence, Some(Confidence::Medium));
    check_all_paired(four);
}

#[test]
fn a_request_that_only_one_of_them_has() {
    let mut four = four(SAME, [50 * SECOND; 4]);
    let request = four
        .world
        .call(0, four.links[2], "Content.compile", 30 * SECOND);
    four.calls = vec![request];
    check_all_paired(four);
}

#[test]
fn virtual_connections_go_with_their_link() {
    let mut world = World::new();
    let a = world.process("a");
    let b = world.process("b");
    let link = world.connect(a, b, 60 * SECOND);
    let virtuals = [1, 2, 3].map(|conn_id| world.open_virtual(link, conn_id));
    let calls = virtuals
        .map(|virtual_link| world.call(a, virtual_link, "Content.watch", 50 * SECOND))
        .to_vec();
    check_all_paired(Four {
        world,
        links: vec![link],
        calls,
    });
}

#[test]
fn without_known_sockets_requests_pair_them() {
    let mut world = World::new();
    let a = world.process("a");
    let b = world.process("b");
    let link = world.connect(a, b, 60 * SECOND);
    let call = world.call(a, link, "Content.watch", 50 * SECOND);
    world.facts.neighbours.clear();
    for process in &mut world.facts.processes {
        process.is_connectivity_known = false;
    }
    check_all_paired(Four {
        world,
        links: vec![link],
        calls: vec![call],
    });
}

#[test]
fn processes_that_share_nothing_are_no_neighbours() {
    let mut world = World::new();
    let a = world.process("a");
    let b = world.process("b");
    let link = world.connect(a, b, 60 * SECOND);
    let call = world.call(a, link, "Content.watch", 50 * SECOND);
    world.facts.neighbours.clear();
    let mut four = Four {
        world,
        links: vec![link],
        calls: vec![call],
    };
    assert_eq!(pairs(&mut four).0, [None]);
}

#[test]
fn a_row_of_another_connection_is_not_taken() {
    let mut world = World::new();
    let a = world.process("a");
    let b = world.process("b");
    let c = world.process("c");
    let link = world.connect(a, b, 60 * SECOND);
    let other = world.connect(c, b, 58 * SECOND);
    let call = world.call(a, link, "Content.watch", 50 * SECOND);
    let theirs = world.call(c, other, "Content.watch", 50 * SECOND);
    let expected: [End; 2] = [call.callee, theirs.callee];
    let mut four = Four {
        world,
        links: vec![link, other],
        calls: vec![call, theirs],
    };
    assert_eq!(pairs(&mut four).0, expected.map(|row| Some(row.serial)));
}
