//! What is found about whole processes, and that it stands before what their rows show.

use roam_diagnostic::registry::ConnectionState;
use roam_dump::model::{
    Code, FindingKind, NodeKind, ProcessState, RuntimeBlocked, Severity, TableUse, WaitGraph,
};

use super::world::{End, Link, SECOND, World};

/// The process and kind of the first root.
fn first(graph: &WaitGraph) -> (&str, &NodeKind) {
    let node = &graph.nodes[graph.roots[0].nodes[0] as usize];
    (&node.process.name, &node.kind)
}

fn findings(world: &World, process: usize) -> Vec<FindingKind> {
    let findings = world.snapshots[process].findings.iter();
    findings.map(|finding| finding.kind.clone()).collect()
}

/// Four connections that nothing tells apart, with a call on each.
fn pool(world: &mut World, from: usize, to: usize) -> (Vec<Link>, Vec<End>) {
    let links: Vec<_> = (0..4)
        .map(|_| world.connect(from, to, 600 * SECOND))
        .collect();
    let calls = links
        .iter()
        .map(|&link| world.call(from, link, "Catalog.find", 20 * SECOND).caller)
        .collect();
    (links, calls)
}

#[test]
fn a_stopped_process_heads_what_waits_for_it_over_any_of_its_connections() {
    for state in [ProcessState::Stopped, ProcessState::Dead] {
        let mut world = World::new();
        let [gateway, catalog, db] = ["gateway", "catalog2", "db"].map(|name| world.process(name));
        let (_, calls) = pool(&mut world, gateway, catalog);
        let other = world.connect(gateway, db, 600 * SECOND);
        world.call(gateway, other, "Db.get", 90 * SECOND);
        world.set_state(catalog, state);
        let explanation = world.explain();
        assert_eq!(first(&explanation.graph), ("catalog2", &NodeKind::Process));
        assert_eq!(explanation.graph.roots[0].waiters, 4);
        assert!(!explanation.is_ambiguous);
        for call in calls {
            let verdict = world.verdict(call.serial).unwrap();
            let expected = match state {
                ProcessState::Dead => Code::PeerDead,
                _ => Code::PeerStopped,
            };
            assert_eq!(verdict.code, expected, "{}", verdict.text);
        }
        let [finding] = world.snapshots[catalog].findings.as_slice() else {
            panic!("{:?}", world.snapshots[catalog].findings);
        };
        assert_eq!(finding.severity, Severity::Critical);
    }
}

/// No driver of the gateway has run for 12 s. Catalog has answered, and the answers lie in the gateway's sockets.
fn blocked_gateway() -> (World, Vec<Link>, Vec<End>) {
    let mut world = World::new();
    let [client, gateway, catalog] =
        ["client", "gateway", "catalog"].map(|name| world.process(name));
    let door = world.connect(client, gateway, 600 * SECOND);
    world.set_driver(door.ends[1], 12 * SECOND, 5, 5);
    let page = world.call(client, door, "Page.get", 12 * SECOND);
    let (links, mut calls) = pool(&mut world, gateway, catalog);
    for (index, link) in links.iter().enumerate() {
        world.set_driver(link.ends[0], 12 * SECOND, 5, 5);
        world.set_driver(link.ends[1], 10_000, 5, 5);
        world.set_unread(link.ends[0], 1_000 + index as u64);
        world.snapshots[catalog].requests.clear();
    }
    calls.push(page.callee);
    (world, links, calls)
}

#[test]
fn a_process_whose_runtime_is_blocked_blames_no_peer() {
    let blocked = RuntimeBlocked {
        idle_us: 12 * SECOND,
        starved_links: 4,
        open_links: 5,
        unread_bytes: 4_006,
    };
    for traced in [&[0, 1, 2][..], &[1]] {
        let (mut world, _, rows) = blocked_gateway();
        world.trace_only(traced);
        let gateway = traced.len() / 2;
        let explanation = world.explain();
        let graph = &explanation.graph;
        assert_eq!(first(graph), ("gateway", &NodeKind::Process));
        assert_eq!(graph.roots.len(), 1, "{graph:#?}");
        assert_eq!(graph.roots[0].waiters, 5);
        for row in rows {
            let verdict = world.verdict(row.serial).unwrap();
            assert_eq!(verdict.code, Code::RuntimeStarved, "{}", verdict.text);
            assert!(
                verdict.text.starts_with(
                    "the runtime of gateway[4002] is blocked or starved: work waits on 4 of 5 links (4,006 unread bytes), and their drivers have not run for 12.0s"
                ),
                "{}",
                verdict.text
            );
        }
        assert_eq!(
            findings(&world, gateway),
            [FindingKind::RuntimeBlocked(blocked)]
        );
        // It may have got its work the moment before.
        assert!(explanation.unconfirmed.contains(&4002));
    }
}

#[test]
fn callers_of_a_process_whose_runtime_is_blocked_wait_for_it() {
    let mut world = World::new();
    let [gateway, catalog] = ["gateway", "catalog"].map(|name| world.process(name));
    let (links, calls) = pool(&mut world, gateway, catalog);
    for link in links {
        world.set_driver(link.ends[0], 10_000, 5, 5);
        world.set_driver(link.ends[1], 12 * SECOND, 5, 5);
        world.set_unread(link.ends[1], 300);
    }
    world.snapshots[catalog].requests.clear();
    let graph = world.explain().graph;
    assert_eq!(first(&graph), ("catalog", &NodeKind::Process));
    assert_eq!(graph.roots.len(), 1);
    for call in calls {
        let verdict = world.verdict(call.serial).unwrap();
        assert!(
            verdict.text.contains("the runtime of catalog[4002]"),
            "{}",
            verdict.text
        );
    }
}

#[test]
fn one_driver_that_does_not_run_is_no_blocked_runtime() {
    let (mut world, links, _) = blocked_gateway();
    for link in &links[1..] {
        world.set_driver(link.ends[0], 10_000, 5, 5);
        world.set_unread(link.ends[0], 0);
    }
    world.explain();
    let kinds = findings(&world, 1);
    let unread = FindingKind::UnreadBytes {
        unread_bytes: 1_000,
        links: 1,
    };
    assert_eq!(kinds, [unread]);
}

#[test]
fn closed_connections_are_not_starved() {
    let mut world = World::new();
    let [gateway, catalog] = ["gateway", "catalog"].map(|name| world.process(name));
    for _ in 0..68 {
        let link = world.connect(gateway, catalog, 60 * SECOND);
        for end in link.ends {
            world.set_driver(end, 30 * SECOND, 9, 5);
            world.connection(end).state = ConnectionState::Closed;
        }
    }
    let explanation = world.explain();
    assert_eq!(explanation.graph.roots, []);
    assert!(explanation.unconfirmed.is_empty());
    for snapshot in &world.snapshots {
        assert_eq!(snapshot.findings, []);
        assert!(snapshot.connections.iter().all(|row| row.verdict.is_none()));
    }
}

/// The gateway's connections to a database that is gone.
fn lost(world: &mut World, gateway: usize, since_us: u64, attempts: u32) -> End {
    let db = world.process("db");
    let link = world.connect(gateway, db, since_us);
    world.snapshots.pop();
    world.facts.processes.pop();
    let row = world.connection(link.ends[0]);
    row.state = ConnectionState::BackingOff;
    row.state_age_us = 100_000;
    row.attempts = attempts;
    row.last_error = Some("connection refused".into());
    row.received = None;
    link.ends[0]
}

#[test]
fn a_lost_link_is_an_incident() {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let link = lost(&mut world, gateway, 45 * SECOND, 12);
    world.connection(link).losses = 1;
    let graph = world.explain().graph;
    let (process, kind) = first(&graph);
    assert_eq!(process, "gateway");
    assert!(matches!(kind, NodeKind::Driver { .. }), "{kind:?}");
    assert_eq!(graph.alarms(0)[0].oldest_us, 45 * SECOND);
    let verdict = world.verdict(link.serial).unwrap();
    assert_eq!(verdict.code, Code::NotConnected);
    assert_eq!(
        &*verdict.text,
        "no connection for 45.0s: 12 attempts failed, last error: connection refused; link lost 1 time"
    );
    assert!(matches!(
        findings(&world, gateway)[..],
        [FindingKind::LinksLost {
            links: 1,
            since_us: 45_000_000,
            attempts: 12,
            losses: 1,
            ..
        }]
    ));
}

#[test]
fn a_client_that_gave_up_is_no_incident_for_ever() {
    let seen = |no_attempt_us| {
        let mut world = World::new();
        let gateway = world.process("gateway");
        let link = lost(&mut world, gateway, 600 * SECOND, 12);
        let row = world.connection(link);
        (row.state, row.state_age_us) = (ConnectionState::Disconnected, no_attempt_us);
        let is_alarm = !world.explain().graph.alarms(0).is_empty();
        let [finding] = world.snapshots[gateway].findings.as_slice() else {
            panic!("{:?}", world.snapshots[gateway].findings)
        };
        let text = world.verdict(link.serial).unwrap().text.clone();
        assert_eq!(*finding.text, format!("db: {text}"));
        (is_alarm, finding.severity, text.to_string())
    };
    // It may be a call that is made again and again.
    let (is_alarm, severity, _) = seen(59 * SECOND);
    assert_eq!((is_alarm, severity), (true, Severity::Critical));
    let (is_alarm, severity, text) = seen(570 * SECOND);
    assert_eq!((is_alarm, severity), (false, Severity::Warning));
    assert_eq!(
        text,
        "no connection for 10m 00s: 12 attempts failed, last error: connection refused; no attempt for 570.0s"
    );
}

#[test]
fn a_link_that_is_being_replaced_is_no_incident() {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let link = lost(&mut world, gateway, 900_000, 1);
    assert_eq!(world.explain().graph.roots, []);
    assert_eq!(findings(&world, gateway), []);
    // Its row is old, and its state is young.
    let row = world.connection(link);
    row.age_us = 600 * SECOND;
    row.received = row.sent;
    row.state_age_us = 300_000;
    assert_eq!(world.explain().graph.roots, []);
}

#[test]
fn a_client_that_does_not_try_is_no_incident() {
    let mut world = World::new();
    let gateway = world.process("gateway");
    let link = lost(&mut world, gateway, 600 * SECOND, 0);
    assert_eq!(world.explain().graph.roots, []);
    // Its first attempt has just begun, and then takes long.
    world.connection(link).state = ConnectionState::Connecting;
    assert_eq!(world.explain().graph.roots, []);
    world.connection(link).state_age_us = 45 * SECOND;
    let graph = world.explain().graph;
    assert_eq!(graph.alarms(0)[0].oldest_us, 45 * SECOND);
}

#[test]
fn handlers_that_may_retry_stand_behind_the_lost_link() {
    let mut world = World::new();
    let [gateway, orders] = ["gateway", "orders"].map(|name| world.process(name));
    let link = world.connect(gateway, orders, 600 * SECOND);
    for age in 0..22 {
        world.call(gateway, link, "Orders.place", (10 + age) * SECOND);
    }
    lost(&mut world, orders, 45 * SECOND, 12);
    let graph = world.explain().graph;
    let (process, kind) = first(&graph);
    assert_eq!(process, "orders");
    assert!(matches!(kind, NodeKind::Driver { .. }), "{kind:?}");
}

#[test]
fn what_runs_out_is_found() {
    let table = |used| TableUse {
        table: "requests",
        used,
        high_water: 100,
        capacity: 100,
    };
    for (used, expected) in [
        (79, None),
        (80, Some(Severity::Warning)),
        (94, Some(Severity::Warning)),
        (95, Some(Severity::Critical)),
    ] {
        let mut world = World::new();
        let gateway = world.process("gateway");
        world.snapshots[gateway].tables = vec![table(used)];
        let graph = world.explain().graph;
        let findings = &world.snapshots[gateway].findings;
        let found = findings.first().map(|finding| finding.severity);
        assert_eq!(found, expected, "{used}");
        assert_eq!(graph.nodes.len(), findings.len());
        assert_eq!(graph.roots, []);
    }
    for (open, expected) in [(921, 0), (922, 1), (1_024, 1)] {
        let mut world = World::new();
        let gateway = world.process("gateway");
        world.facts.processes[gateway].descriptors = Some((open, 1_024));
        world.explain();
        assert_eq!(findings(&world, gateway).len(), expected, "{open}");
    }
}
