//! Incidents in systems where much else goes on: what is named first, and what is not said.

use roam_diagnostic::registry::{Direction, Mark, Phase};
use roam_dump::Explanation;
use roam_dump::analysis::{EndedCalls, EndedSample};
use roam_dump::model::{Code, Deadlock, Delivering, Node, NodeKind, Root, WaitGraph};

use super::world::{Call, End, Link, SECOND, World, as_text, method_id};

fn node(graph: &WaitGraph, root: usize) -> (&Root, &Node) {
    let root = &graph.roots[root];
    (root, &graph.nodes[root.nodes[0] as usize])
}

/// Whether the root is the handler of a call.
fn check_root(explanation: &Explanation, callee: End) {
    let (_, node) = node(&explanation.graph, 0);
    let text = as_text(&explanation.graph);
    assert!(
        matches!(node.kind, NodeKind::Handler { serial, .. } if serial == callee.serial),
        "{text}"
    );
}

/// Six long polls that a client has made of the gateway, and has made often before.
fn long_polls(world: &mut World, client: usize, link: Link) -> Vec<Call> {
    let gateway = link.ends[1].process;
    let percentiles = [63 * SECOND, 65 * SECOND];
    world.answered(client, Direction::Outgoing, "Page.poll", 40, percentiles);
    world.answered(gateway, Direction::Incoming, "Page.poll", 40, percentiles);
    (0..6)
        .map(|poll| world.call(client, link, "Page.poll", (20 + 7 * poll) * SECOND))
        .collect()
}

/// A client calls a gateway, which calls orders, which call a database.
struct Shop {
    world: World,
    client: usize,
    gateway: usize,
    orders: usize,
    db: usize,
    door: Link,
    to_orders: Link,
    to_db: Link,
}

fn shop() -> Shop {
    let mut world = World::new();
    let [client, gateway, orders, db] =
        ["client", "gateway", "orders", "db"].map(|name| world.process(name));
    let door = world.connect(client, gateway, 900 * SECOND);
    let to_orders = world.connect(gateway, orders, 800 * SECOND);
    let to_db = world.connect(orders, db, 700 * SECOND);
    Shop {
        world,
        client,
        gateway,
        orders,
        db,
        door,
        to_orders,
        to_db,
    }
}

#[test]
fn healthy_long_polls_are_never_named() {
    let mut shop = shop();
    let polls = long_polls(&mut shop.world, shop.client, shop.door);
    assert_eq!(as_text(&shop.world.explain().graph), NOTHING);
    let status = shop
        .world
        .call(shop.gateway, shop.to_orders, "Orders.status", 9 * SECOND);
    let explanation = shop.world.explain();
    check_root(&explanation, status.callee);
    assert!(!as_text(&explanation.graph).contains("Page.poll"));
    for poll in polls {
        for row in [poll.caller, poll.callee] {
            assert_eq!(shop.world.verdict(row.serial).unwrap().code, Code::Usual);
        }
    }
}

const NOTHING: &str = "WAIT GRAPH (root blocker first):\n  (none)\n";

/// 200 calls wait for 8 permits in the database; some callers were served in the order of their calls, some not.
#[test]
fn the_pile_behind_a_semaphore_stands_first_with_one_age() {
    let mut shop = shop();
    let method = "Db.get";
    for count in 0..200 {
        let age_us = 17_400_000 - 50_000 * count;
        let status = shop
            .world
            .call(shop.gateway, shop.to_orders, "Orders.status", age_us);
        shop.world
            .call_from(status.callee, shop.to_db, method, age_us - 1_000);
    }
    // One that waits for nothing known, and that nobody else waits for.
    shop.world
        .call(shop.gateway, shop.to_orders, "Orders.report", 9_800_000);
    shop.world.answered(
        shop.db,
        Direction::Incoming,
        method,
        9_000,
        [100_000, 150_000],
    );
    let key = (
        shop.world.snapshots[shop.db].process.pid,
        Direction::Incoming,
        method_id(method),
    );
    let sample = |ended| EndedSample([(key, ended)].into());
    shop.world.facts.ended = Some(EndedCalls {
        before: sample(9_000),
        after: sample(9_020),
        elapsed_us: SECOND / 4,
    });
    let graph = shop.world.explain().graph;
    let (root, node) = node(&graph, 0);
    assert_eq!(node.process.name, "db");
    assert_eq!((root.waiters, root.oldest_us), (400, 17_400_000));
    assert!(root.is_alarm);
    insta::assert_snapshot!(as_text(&graph));
}

#[test]
fn a_pile_says_whether_any_call_ends() {
    for (after, words) in [
        (9_020, "draining: 80.0 end per second"),
        (9_000, "none has ended for 30.0s"),
    ] {
        let mut shop = shop();
        for count in 0..22 {
            let age_us = (10 + count) * SECOND;
            shop.world
                .call(shop.gateway, shop.to_orders, "Orders.place", age_us);
        }
        let orders = shop.orders;
        shop.world
            .answered(orders, Direction::Incoming, "Orders.place", 19, [SECOND; 2]);
        shop.world.snapshots[orders].methods[0].last_ended_us = Some(30 * SECOND);
        let pid = shop.world.snapshots[orders].process.pid;
        let key = (pid, Direction::Incoming, method_id("Orders.place"));
        shop.world.facts.ended = Some(EndedCalls {
            before: EndedSample([(key, 9_000)].into()),
            after: EndedSample([(key, after)].into()),
            elapsed_us: SECOND / 4,
        });
        let graph = shop.world.explain().graph;
        assert_eq!(graph.roots.len(), 1);
        let text = as_text(&graph);
        assert!(text.contains("orders[4003] 22 Orders.place run, none has a call out (22 calls wait, the oldest 31.0s): they wait inside the process"), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

/// 22 handlers, one of which has made a call that old.
fn place(shop: &mut Shop, call_us: u64) -> (Vec<Call>, Call) {
    let placed: Vec<_> = (0..22)
        .map(|count| {
            let age_us = (10 + count) * SECOND;
            shop.world
                .call(shop.gateway, shop.to_orders, "Orders.place", age_us)
        })
        .collect();
    let oldest = placed[21].callee;
    let put = shop.world.call_from(oldest, shop.to_db, "Db.put", call_us);
    (placed, put)
}

#[test]
fn handlers_behind_a_call_that_moves_are_one_root() {
    let mut shop = shop();
    place(&mut shop, 200_000);
    let graph = shop.world.explain().graph;
    assert_eq!(graph.roots.len(), 1, "{}", as_text(&graph));
    insta::assert_snapshot!(as_text(&graph));
}

#[test]
fn handlers_behind_a_call_that_hangs_wait_for_it() {
    let mut shop = shop();
    let (_, put) = place(&mut shop, 30 * SECOND);
    let explanation = shop.world.explain();
    check_root(&explanation, put.callee);
    assert_eq!(explanation.graph.roots.len(), 1);
    assert_eq!(explanation.graph.roots[0].waiters, 23);
    insta::assert_snapshot!(as_text(&explanation.graph));
    // If a handler has ended since that call was made, they wait for something else.
    let orders = shop.orders;
    shop.world
        .answered(orders, Direction::Incoming, "Orders.place", 19, [SECOND; 2]);
    let graph = shop.world.explain().graph;
    assert_eq!(graph.roots.len(), 2);
    let (root, node) = node(&graph, 0);
    let NodeKind::Handlers(pile) = &node.kind else {
        panic!("{node:?}");
    };
    assert_eq!((pile.running, pile.calls_out), (22, 1));
    assert_eq!(root.waiters, 21);
}

/// A handler of orders calls back into the gateway, which takes 25 s to answer.
#[test]
fn a_slow_reverse_call_is_no_deadlock() {
    let mut shop = shop();
    long_polls(&mut shop.world, shop.client, shop.door);
    let page = shop
        .world
        .call(shop.client, shop.door, "Page.get", 25 * SECOND);
    let place = shop
        .world
        .call_from(page.callee, shop.to_orders, "Orders.place", 25 * SECOND);
    let confirm =
        shop.world
            .call_from(place.callee, shop.to_orders, "Gateway.confirm", 25 * SECOND);
    let explanation = shop.world.explain();
    check_root(&explanation, confirm.callee);
    let roots = &explanation.graph.roots;
    assert!(roots.iter().all(|root| root.deadlock.is_none()));
    // A second chain, so that a cycle would close if handlers waited for each other.
    let page = shop
        .world
        .call(shop.client, shop.door, "Page.get", 12 * SECOND);
    let status = shop
        .world
        .call_from(page.callee, shop.to_orders, "Orders.status", 12 * SECOND);
    let explanation = shop.world.explain();
    check_root(&explanation, confirm.callee);
    let graph = &explanation.graph;
    let last = graph.roots.last().unwrap();
    assert_eq!(last.deadlock, Some(Deadlock::PossibleCycle));
    assert!(!last.is_alarm);
    assert_eq!(graph.alarms(0).first().copied(), graph.roots.first());
    let text = as_text(graph);
    assert!(
        !text.contains("DEADLOCK") && !text.contains("Page.poll"),
        "{text}"
    );
    let verdict = shop.world.verdict(status.callee.serial).unwrap();
    assert_eq!(verdict.code, Code::HandlerRunning);
}

/// The gateway's own task called for an export and does not read it.
#[test]
fn the_caller_does_not_read_what_the_callee_writes() {
    let mut shop = shop();
    let export = shop
        .world
        .call(shop.gateway, shop.to_orders, "Orders.export", 30 * SECOND);
    shop.world.channel(5, export.callee, export.caller);
    shop.world.connection(shop.to_orders.ends[0]).delivering = Some(Delivering {
        channel_id: 5,
        waiting_us: 20 * SECOND,
    });
    let graph = shop.world.explain().graph;
    let (_, node) = node(&graph, 0);
    assert!(matches!(node.kind, NodeKind::Driver { .. }));
    assert_eq!(
        node.sentence().unwrap(),
        "the driver has waited 20.0s for room in the buffer of channel 5, which the caller of Orders.export (req_id=1) in gateway[4002] does not read"
    );
}

#[test]
fn a_handler_that_panicked_is_shown_with_its_caller() {
    let mut shop = shop();
    let calls: Vec<_> = (0..18)
        .map(|count| {
            let age_us = (30 + count) * SECOND;
            shop.world
                .call(shop.gateway, shop.to_orders, "Orders.place", age_us)
        })
        .collect();
    let panicked = shop
        .world
        .call(shop.gateway, shop.to_orders, "Orders.place", 12_500_000);
    shop.world.request(panicked.callee).mark = Some(Mark::EndedWithoutAnswer);
    for call in &calls[..15] {
        shop.world.forget(call.caller);
        shop.world.forget(call.callee);
    }
    let graph = shop.world.explain().graph;
    insta::assert_snapshot!(as_text(&graph));
}

#[test]
fn what_nobody_waits_for_comes_last() {
    let mut shop = shop();
    let gone = shop
        .world
        .call(shop.gateway, shop.to_orders, "Orders.export", 300 * SECOND);
    shop.world.forget(gone.caller);
    let alone = shop.world.explain().graph;
    assert_eq!(alone.alarms(0).first(), None);
    assert_eq!((alone.roots[0].waiters, alone.roots.len()), (0, 1));
    let status = shop
        .world
        .call(shop.gateway, shop.to_orders, "Orders.status", 2 * SECOND);
    let explanation = shop.world.explain();
    check_root(&explanation, status.callee);
    let text = as_text(&explanation.graph);
    assert!(
        text.contains("Orders.export running (req_id=1; nobody waits for it, 299.9s old)"),
        "{text}"
    );
}

/// The handler made its call in a task of its own.
#[test]
fn a_handler_that_may_have_made_a_call_stands_behind_what_the_call_waits_for() {
    let mut shop = shop();
    for count in 0..3 {
        let age_us = (20 + count) * SECOND;
        shop.world
            .call(shop.gateway, shop.to_orders, "Orders.place", age_us);
    }
    let put = shop
        .world
        .call(shop.orders, shop.to_db, "Db.put", 19 * SECOND);
    check_root(&shop.world.explain(), put.callee);
}

#[test]
fn a_caller_whose_connection_is_open_is_no_root_before_what_it_may_wait_for() {
    let mut world = World::new();
    let [gateway, catalog] = ["gateway", "catalog"].map(|name| world.process(name));
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let link = world.connect(gateway, catalog, 600 * SECOND);
            world.call(gateway, link, "Catalog.find", 20 * SECOND)
        })
        .collect();
    // All but one of the handlers are done, and the dump shows none of their responses.
    for call in &calls[1..] {
        world.request(call.callee).phase = Phase::Responding;
    }
    let explanation = world.explain();
    let (_, node) = node(&explanation.graph, 0);
    assert_eq!(
        node.process.name,
        "catalog",
        "{}",
        as_text(&explanation.graph)
    );
}
