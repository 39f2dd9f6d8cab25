//! Links whose sockets were found, and what must not be said where they were not.

use std::sync::Arc;

use roam_diagnostic::registry::ConnectionState;
use roam_dump::Explanation;
use roam_dump::analysis::{Neighbour, Peer, StillThere, Via};
use roam_dump::model::{
    Code, Confidence, Connection, NodeKind, ProcessState, SocketUnknown, Verdict,
};

use super::world::{Call, End, Link, SECOND, World};

/// Two processes with four links between which nothing tells apart, and a hung call on each.
struct Pool {
    world: World,
    links: [Link; 4],
    calls: [Call; 4],
}

fn pool() -> Pool {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let catalog = world.process("catalog");
    let links = [0; 4].map(|_| world.connect(gateway, catalog, 60 * SECOND));
    let calls = links.map(|link| world.call(gateway, link, "Catalog.list", 50 * SECOND));
    Pool {
        world,
        links,
        calls,
    }
}

/// The row that each call waits for, and how sure that is.
fn waits(world: &mut World, calls: &[Call]) -> Vec<Option<(u64, Confidence)>> {
    let Explanation { graph, .. } = world.explain();
    let serial = |node: u32| match graph.nodes[node as usize].kind {
        NodeKind::Call { serial, .. } | NodeKind::Handler { serial, .. } => serial,
        _ => 0,
    };
    let edge_of = |call: &Call| {
        let mut edges = graph.edges.iter();
        edges.find(|edge| serial(edge.from) == call.caller.serial)
    };
    let edges = calls.iter().map(edge_of);
    edges
        .map(|edge| edge.map(|edge| (serial(edge.to), edge.confidence)))
        .collect()
}

fn check_known(world: &mut World, calls: &[Call]) {
    let expected: Vec<_> = calls
        .iter()
        .map(|call| Some((call.callee.serial, Confidence::Known)))
        .collect();
    assert_eq!(waits(world, calls), expected);
}

fn check_pool(change: impl FnOnce(&mut Pool), known: [bool; 4]) {
    let mut pool = pool();
    change(&mut pool);
    let Pool { world, calls, .. } = &mut pool;
    let expected: Vec<_> = calls
        .iter()
        .zip(known)
        .map(|(call, known)| known.then_some((call.callee.serial, Confidence::Known)))
        .collect();
    let found = waits(world, calls).into_iter();
    let found: Vec<_> = found
        .map(|wait| wait.filter(|&(_, confidence)| confidence == Confidence::Known))
        .collect();
    assert_eq!(found, expected);
}

fn find_all(pool: &mut Pool) {
    for link in pool.links {
        pool.world.find_sockets(link);
    }
}

#[test]
fn both_ends_of_a_socket_are_a_pair() {
    check_pool(|_| {}, [false; 4]);
    check_pool(find_all, [true; 4]);
}

#[test]
fn what_is_found_at_one_end_alone_is_not_known() {
    check_pool(
        |pool| {
            find_all(pool);
            pool.world
                .facts
                .transports
                .remove(&(4001, pool.links[2].ends[0].serial));
        },
        [true, true, false, true],
    );
}

#[test]
fn numbers_that_are_descriptors_by_chance_fall_out() {
    // Every transport of both processes has a number that is a descriptor of the first link.
    check_pool(
        |pool| {
            let [a, b] = pool.links[0].ends.map(|end| end.serial);
            for link in &pool.links[1..] {
                pool.world.find_socket(link.ends[0], a, b);
            }
            find_all(pool);
        },
        [true; 4],
    );
    // Of two links the sockets are in both transports, at both ends.
    check_pool(
        |pool| {
            find_all(pool);
            for (of, other) in [(0, 1), (1, 0)] {
                let [a, b] = pool.links[of].ends.map(|end| end.serial);
                let ends = pool.links[other].ends;
                pool.world.find_socket(ends[0], a, b);
                pool.world.find_socket(ends[1], b, a);
            }
        },
        [false, false, true, true],
    );
}

#[test]
fn two_links_do_not_share_a_socket() {
    check_pool(
        |pool| {
            find_all(pool);
            let [a, b] = pool.links[0].ends.map(|end| end.serial);
            let second = pool.links[1].ends[0];
            pool.world.facts.transports.remove(&(4001, second.serial));
            pool.world.find_socket(second, a, b);
        },
        [false, false, true, true],
    );
}

#[test]
fn a_socket_has_carried_what_its_link_counted() {
    for (carried, known) in [
        ((1_000, 1_000), true),
        ((10, 1_000), false),
        ((1_000, 10), false),
    ] {
        check_pool(
            |pool| {
                find_all(pool);
                let key = (4001, pool.links[0].ends[0].serial);
                let found = &mut pool.world.facts.transports.get_mut(&key).unwrap()[0];
                found.carried_bytes = Some(carried);
            },
            [known, true, true, true],
        );
    }
}

#[test]
fn a_known_pair_shows_socket_and_peer() {
    let mut pool = pool();
    find_all(&mut pool);
    let [a, b] = pool.links[0].ends;
    let key = (4001, a.serial);
    let found = &mut pool.world.facts.transports.get_mut(&key).unwrap()[0];
    (found.remote, found.unread_bytes) = (Some("@catalog".into()), 7);
    pool.world
        .facts
        .transports
        .remove(&(4002, pool.links[1].ends[1].serial));
    let unreadable = pool.links[1].ends[1];
    let key = (4002, unreadable.serial);
    pool.world
        .facts
        .unknown_sockets
        .insert(key, SocketUnknown::Unreadable);
    pool.world.explain();
    let row = pool.world.connection(a).clone();
    let socket = row.socket.as_ref().unwrap();
    assert_eq!(socket.descriptor as u64, a.serial);
    assert_eq!(
        (socket.remote.as_deref(), socket.unread_bytes),
        (Some("@catalog"), 7)
    );
    assert_eq!(socket.confidence, Confidence::Known);
    let peer = |row: &Connection| {
        let peer = row.peer.as_ref().unwrap();
        (peer.process.pid, peer.confidence)
    };
    assert_eq!(peer(&row), (4002, Confidence::Known));
    assert_eq!(peer(pool.world.connection(b)), (4001, Confidence::Known));
    let row = pool.world.connection(unreadable).clone();
    assert_eq!(
        (&row.socket, row.socket_unknown),
        (&None, Some(SocketUnknown::Unreadable))
    );
    // It shares something with the gateway alone.
    assert_eq!(peer(&row), (4001, Confidence::High));
}

#[test]
fn a_socket_of_one_end_needs_another_fact() {
    // What it carried, where its link counted 60 bytes in 2 messages and 20 in 1; and whether it is in its place.
    for (carried, is_in_place, expected) in [
        (None, false, Confidence::Medium),
        (None, true, Confidence::High),
        (Some((400, 300)), false, Confidence::Medium),
        (Some((400, 300)), true, Confidence::High),
    ] {
        let mut pool = pool();
        let end = pool.links[0].ends[0];
        let socket = pool.world.find_socket(end, 70, 71);
        (socket.carried_bytes, socket.is_in_place) = (carried, is_in_place);
        pool.world.explain();
        let row = pool.world.connection(end);
        assert_eq!(row.socket.as_ref().unwrap().confidence, expected);
    }
    for (carried, unread_bytes, expected) in [
        ((5_000, 4_000), 0, Confidence::High),
        ((500_000, 4_000), 0, Confidence::Medium),
        ((5_000, 500_000), 0, Confidence::Medium),
        ((5_000, 500_000), 496_000, Confidence::High),
    ] {
        let mut pool = pool();
        let [end, other] = pool.links[0].ends;
        for _ in 0..3 {
            pool.world.send(end, other, 100, 40 * SECOND);
        }
        let socket = pool.world.find_socket(end, 70, 71);
        socket.carried_bytes = Some(carried);
        socket.unread_bytes = unread_bytes;
        pool.world.explain();
        let row = pool.world.connection(end);
        assert_eq!(row.socket.as_ref().unwrap().confidence, expected);
    }
}

#[test]
fn a_socket_leads_to_the_process_that_is_not_traced() {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let (one, two) = (world.process("one"), world.process("two"));
    let links = [one, two].map(|peer| world.connect(gateway, peer, 60 * SECOND));
    let calls = links.map(|link| world.call(gateway, link, "Catalog.list", 50 * SECOND));
    for link in links {
        world.find_sockets(link);
    }
    world.facts.transports.retain(|&(pid, _), _| pid == 4001);
    world.trace_only(&[gateway]);
    world.set_state(one, ProcessState::Dead);
    world.explain();
    check_verdict(
        &world,
        calls[0].caller,
        Code::PeerDead,
        "likely peer one[4002] is dead",
    );
    check_verdict(
        &world,
        calls[1].caller,
        Code::PeerSilent,
        "likely peer two[4003] not traced",
    );
    let peer = world.connection(links[1].ends[0]).peer.clone().unwrap();
    assert_eq!(
        (peer.process.pid, peer.confidence),
        (4003, Confidence::Medium)
    );
}

/// A gateway with a call to the catalog, and the db, which is stopped. In the transport is a socket that leads to the db.
fn by_chance() -> (World, [Link; 2], Call) {
    let mut world = World::new();
    let [gateway, catalog, db] = ["gateway", "catalog", "db"].map(|name| world.process(name));
    let links = [catalog, db].map(|peer| world.connect(gateway, peer, 60 * SECOND));
    let call = world.call(gateway, links[0], "Catalog.list", 50 * SECOND);
    let end = links[0].ends[0];
    world.find_socket(end, 70, 71);
    let db_pid = world.snapshots[db].process.pid;
    let peer = Peer::Process {
        pid: db_pid,
        held_by: None,
    };
    world.facts.socket_peers.insert(70, vec![peer]);
    world.set_state(db, ProcessState::Stopped);
    world.find_sockets(links[1]);
    (world, links, call)
}

#[test]
fn what_one_end_alone_shows_of_a_peer_is_likely() {
    let (mut world, _, call) = by_chance();
    let Explanation { graph, .. } = world.explain();
    let words = "likely peer db[4003] is stopped";
    check_verdict(&world, call.caller, Code::PeerStopped, words);
    let call_of = |kind: &NodeKind| matches!(kind, NodeKind::Call { .. });
    let mut edges =
        (graph.edges.iter()).filter(|edge| call_of(&graph.nodes[edge.from as usize].kind));
    let edge = edges.next().unwrap();
    assert_eq!(edge.confidence, Confidence::Medium);
    assert!(edge.basis.as_str().contains("only one end"), "{edge:?}");
    // With the socket of the catalog's end, both agree on another one.
    let (mut world, links, call) = by_chance();
    world.find_sockets(links[0]);
    check_known(&mut world, &[call]);
    // And both may agree on the db.
    let (mut world, links, _) = by_chance();
    let call = world.call(0, links[1], "Db.get", 50 * SECOND);
    world.explain();
    let words = "peer db[4003] is stopped";
    check_verdict(&world, call.caller, Code::PeerStopped, words);
    let text = &world.verdict(call.caller.serial).unwrap().text;
    assert!(text.starts_with(words), "{text}");
}

fn check_verdict(world: &World, row: End, code: Code, words: &str) {
    let verdict = world.verdict(row.serial).expect("no verdict");
    assert_eq!(verdict.code, code, "{}", verdict.text);
    assert!(verdict.text.contains(words), "{}", verdict.text);
}

/// Every verdict that there is.
fn verdicts(world: &World) -> Vec<Arc<Verdict>> {
    let of = |snapshot: &roam_dump::model::Snapshot| {
        let requests = snapshot.requests.iter().map(|row| row.verdict.clone());
        let connections = snapshot.connections.iter().map(|row| row.verdict.clone());
        requests.chain(connections).flatten().collect::<Vec<_>>()
    };
    world.snapshots.iter().flat_map(of).collect()
}

/// A gateway with an idle client that is not traced, and a neighbour of the gateway's with a link to itself.
/// Idle links look alike.
fn idle_client() -> (World, Link, Link) {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let orders = world.process("orders");
    let client = world.process("client");
    world.connect(gateway, orders, 90 * SECOND);
    let idle = world.connect(client, gateway, 60 * SECOND);
    let own = world.connect(orders, orders, 60 * SECOND);
    for end in [idle.ends[1], own.ends[0], own.ends[1]] {
        world.set_driver(end, 59 * SECOND, 1, 1);
    }
    // One message more went from orders to itself.
    world.send(own.ends[0], own.ends[1], 20, 50 * SECOND);
    world.trace_only(&[gateway, orders]);
    (world, idle, own)
}

#[test]
fn an_idle_client_is_not_paired_with_the_link_of_another_process_to_itself() {
    let (mut world, ..) = idle_client();
    world.explain();
    assert_eq!(verdicts(&world), []);
    // Not even if the link to itself cannot be told.
    world.facts.neighbours.retain(
        |neighbour| !matches!(neighbour.peer, Peer::Process { pid, .. } if pid == neighbour.pid),
    );
    world.explain();
    assert_eq!(verdicts(&world), []);
}

#[test]
fn sockets_show_whose_client_it_is() {
    let (mut world, idle, own) = idle_client();
    world.find_socket(idle.ends[1], 70, 71);
    let client = Peer::Process {
        pid: 4003,
        held_by: None,
    };
    world.facts.socket_peers.insert(70, vec![client]);
    world.find_sockets(own);
    world.explain();
    assert_eq!(verdicts(&world), []);
    let peer = |world: &mut World, end| {
        let peer = world.connection(end).peer.as_ref();
        peer.unwrap().process.pid
    };
    assert_eq!(peer(&mut world, idle.ends[1]), 4003);
    assert_eq!(own.ends.map(|end| peer(&mut world, end)), [4002; 2]);
}

/// A process that calls itself and has a neighbour.
fn own_call() -> (World, Link, Call) {
    let mut world = World::new();
    let orders = world.process("orders");
    let db = world.process("db");
    world.connect(orders, db, 90 * SECOND);
    let link = world.connect(orders, orders, 60 * SECOND);
    let call = world.call(orders, link, "Orders.audit", 50 * SECOND);
    (world, link, call)
}

#[test]
fn a_process_that_calls_itself_is_its_own_peer() {
    let (mut world, link, call) = own_call();
    let found = waits(&mut world, &[call])[0].unwrap();
    assert_eq!(found.0, call.callee.serial);
    assert!(found.1 < Confidence::Known);
    world.find_sockets(link);
    check_known(&mut world, &[call]);
    check_verdict(
        &world,
        call.caller,
        Code::HandlerRunning,
        "the handler in orders[4001] has run for",
    );
}

#[test]
fn a_process_with_neighbours_shares_something_with_them() {
    let (mut world, link, call) = own_call();
    world.snapshots[0]
        .connections
        .retain(|row| row.serial != link.ends[1].serial);
    world.forget(call.callee);
    world.explain();
    check_verdict(
        &world,
        call.caller,
        Code::PeerSilent,
        "peer not found: no connection of db[4002], orders[4001] fits",
    );
}

#[test]
fn every_link_of_a_pool_leads_to_the_stopped_process() {
    let mut pool = pool();
    pool.world.set_state(1, ProcessState::Stopped);
    pool.world.explain();
    for call in pool.calls {
        check_verdict(
            &pool.world,
            call.caller,
            Code::PeerStopped,
            "peer catalog[4002] is stopped",
        );
        check_verdict(&pool.world, call.callee, Code::ProcessStopped, "");
    }
    // What is at the other end is not certain where it may be a process that is not traced.
    pool.world.facts.neighbours.push(Neighbour {
        pid: 4001,
        peer: Peer::Unseen("at 10.0.0.7:9000".into()),
        via: Via::Tcp,
    });
    pool.world.explain();
    for call in pool.calls {
        check_verdict(
            &pool.world,
            call.caller,
            Code::PeerAmbiguous,
            "peer ambiguous: 4 connections may be the other end",
        );
    }
}

/// A gateway whose call the catalog has answered, which the gateway has not read.
fn answered() -> (World, Link, Call) {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let catalog = world.process("catalog");
    let link = world.connect(gateway, catalog, 60 * SECOND);
    let call = world.call(gateway, link, "Catalog.list", 50 * SECOND);
    world.forget(call.callee);
    let sent = &mut world.connection(link.ends[1]).sent;
    sent.as_mut().unwrap().messages += 1;
    world.set_driver(link.ends[0], 45 * SECOND, 5, 5);
    world.set_driver(link.ends[1], 10_000, 5, 5);
    (world, link, call)
}

#[test]
fn a_caller_that_does_not_read_blames_nobody_else() {
    let (mut world, link, call) = answered();
    world.find_sockets(link);
    world.explain();
    check_verdict(
        &world,
        call.caller,
        Code::RuntimeStarved,
        "the runtime of gateway[4001] is blocked or starved",
    );
    let verdicts = world.snapshots[1].connections.iter();
    assert!(
        verdicts
            .filter_map(|row| row.verdict.as_ref())
            .next()
            .is_none()
    );
    // It reads, but has not read everything.
    let (mut world, link, call) = answered();
    world.find_sockets(link);
    world.set_driver(link.ends[0], 10_000, 5, 5);
    let key = (4001, link.ends[0].serial);
    world.facts.transports.get_mut(&key).unwrap()[0].unread_bytes = 517;
    world.explain();
    check_verdict(
        &world,
        call.caller,
        Code::NoResponse,
        "not read yet: 517 bytes from the peer",
    );
}

#[test]
fn a_row_that_the_other_end_lacks_must_have_outlived_its_snapshot() {
    let code = |still_there: Option<bool>, later_us: u64| {
        let mut world = World::new();
        let [gateway, catalog] = ["gateway", "catalog"].map(|name| world.process(name));
        let link = world.connect(gateway, catalog, 60 * SECOND);
        let call = world.call(gateway, link, "Catalog.list", 50 * SECOND);
        world.find_sockets(link);
        world.forget(call.caller);
        // The handler began after the gateway's snapshot, or before.
        world.snapshots[gateway].taken_ns -= later_us * 1_000;
        if let Some(is_there) = still_there {
            let mut rows = StillThere::default();
            rows.requests.extend(is_there.then_some(call.callee.serial));
            world.facts.still_there = [(4001, StillThere::default()), (4002, rows)].into();
        }
        world.explain();
        world.verdict(call.callee.serial).unwrap().code
    };
    assert_eq!(code(None, 0), Code::CallerGone);
    assert_eq!(code(Some(true), 0), Code::CallerGone);
    assert_eq!(code(Some(false), 0), Code::HandlerRunning);
    assert_eq!(code(Some(true), 51 * SECOND), Code::HandlerRunning);
}

#[test]
fn counters_alone_show_nobody_starved() {
    let (mut world, link, call) = answered();
    let key = (4001, link.ends[0].serial);
    world
        .facts
        .unknown_sockets
        .insert(key, SocketUnknown::Unreadable);
    world.explain();
    // The pair may be wrong, so that neither what was not received nor the lack of a row counts.
    check_verdict(
        &world,
        call.caller,
        Code::PeerAmbiguous,
        "no row of catalog[4002] is known to belong to this request",
    );
    assert_eq!(verdicts(&world).len(), 1);
}

#[test]
fn bytes_that_a_driver_leaves_in_its_socket_show_that_it_is_starved() {
    let starved = "(517 unread bytes), and their drivers have not run for 45.0s";
    let unread = "not read yet: 517 bytes from the peer";
    let likely = "not read yet: 517 bytes in what is likely the socket of this connection";
    for (is_left, is_in_place, code, words) in [
        (true, true, Code::RuntimeStarved, starved),
        (false, true, Code::NoResponse, unread),
        // It may be the socket of something else.
        (true, false, Code::NoResponse, likely),
        (false, false, Code::NoResponse, likely),
    ] {
        let (mut world, link, call) = answered();
        world.trace_only(&[0]);
        let end = link.ends[0];
        let socket = world.find_socket(end, 70, 71);
        (socket.unread_bytes, socket.is_in_place) = (517, is_in_place);
        if is_left {
            world.facts.left_unread.insert((4001, end.serial, 70));
        }
        world.explain();
        check_verdict(&world, call.caller, code, words);
        let is_found = !world.snapshots[0].findings.is_empty();
        assert_eq!(is_found, code == Code::RuntimeStarved);
    }
}

#[test]
fn a_write_waits_for_the_peer_only_while_its_process_runs_and_the_socket_is_full() {
    for (unsent_bytes, state, code) in [
        (517, ProcessState::Alive, Some(Code::WriteBlocked)),
        (0, ProcessState::Alive, Some(Code::RuntimeStarved)),
        (517, ProcessState::Stopped, None),
        (0, ProcessState::Stopped, None),
    ] {
        let (mut world, link, _) = answered();
        world.trace_only(&[0]);
        let end = link.ends[0];
        let socket = world.find_socket(end, 70, 71);
        (socket.unsent_bytes, socket.is_in_place) = (unsent_bytes, true);
        world.set_driver(end, 50 * SECOND, 7, 7);
        let driver = &mut world.connection(end).driver;
        driver.as_mut().unwrap().writing_us = Some(50 * SECOND);
        world.set_state(0, state);
        world.explain();
        let verdict = world.connection(end).verdict.as_ref();
        assert_eq!(verdict.map(|verdict| verdict.code), code);
    }
}

#[test]
fn closed_connections_have_no_driver() {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let catalog = world.process("catalog");
    let links = [0; 8].map(|_| world.connect(gateway, catalog, 60 * SECOND));
    for end in links.iter().flat_map(|link| link.ends) {
        world.set_driver(end, 50 * SECOND, 7, 3);
        let row = world.connection(end);
        row.state = ConnectionState::Closed;
        row.driver.as_mut().unwrap().writing_us = Some(50 * SECOND);
    }
    let graph = world.explain().graph;
    assert_eq!(verdicts(&world), []);
    assert!(graph.nodes.is_empty());
}

#[test]
fn a_proxy_is_followed_to_the_process_behind_it() {
    let mut world = World::new();
    let [client, proxy, backend] = ["client", "proxy", "backend"].map(|name| world.process(name));
    let front = world.connect(client, proxy, 60 * SECOND);
    let back = world.connect(proxy, backend, 60 * SECOND);
    // The client knows the backend too.
    let direct = world.connect(client, backend, 60 * SECOND);
    let outer = world.call(client, front, "Catalog.list", 50 * SECOND);
    let inner = world.call_from(outer.callee, back, "Catalog.list", 50 * SECOND);
    for link in [front, back, direct] {
        world.find_sockets(link);
    }
    check_known(&mut world, &[outer, inner]);
    let graph = world.explain().graph;
    let [root] = &graph.roots[..] else {
        panic!("{:#?}", graph.roots)
    };
    let NodeKind::Handler { serial, .. } = graph.nodes[root.nodes[0] as usize].kind else {
        panic!("no handler")
    };
    assert_eq!(serial, inner.callee.serial);
}
