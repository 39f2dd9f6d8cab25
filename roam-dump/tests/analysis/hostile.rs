//! Rows that a target made up to hold up the tracer, or to end it.

use std::time::{Duration, Instant};

use roam_dump::analysis::{Neighbour, Peer, Via};
use roam_dump::render::{graph, text};

use super::world::{End, Link, SECOND, World};

/// Two processes with a link, of which no socket was found.
fn world() -> (World, usize, Link) {
    let mut world = World::new();
    let client = world.process("client");
    let server = world.process("server");
    let link = world.connect(client, server, 60 * SECOND);
    (world, client, link)
}

fn check_time(world: &mut World) {
    let start = Instant::now();
    world.explain();
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

#[test]
fn requests_with_one_id() {
    let (mut world, client, link) = world();
    for _ in 0..20_000 {
        world.call(client, link, "Made.up", 30 * SECOND);
    }
    // None of them fits another.
    for (method_id, row) in (0..).zip(&mut world.snapshots[client].requests) {
        row.method_id = method_id;
    }
    for snapshot in &mut world.snapshots {
        for row in &mut snapshot.requests {
            row.request_id = 7;
        }
    }
    check_time(&mut world);
}

#[test]
fn a_chain_without_end() {
    let (mut world, client, link) = world();
    let mut call = world.call(client, link, "Made.up", 30 * SECOND);
    for _ in 0..5_000 {
        call = world.call_from(call.callee, link, "Made.up", 30 * SECOND);
    }
    let graph = world.explain().graph;
    assert_eq!(graph.roots.len(), 1);
    let mut out = Vec::new();
    graph::render(&mut out, &graph, &text::Options::plain()).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.ends_with("└─ (the rest of the chain is left out)\n"));
    assert!(out.lines().count() < 400);
}

#[test]
fn counters_without_end() {
    let set = |world: &mut World, end: End| {
        let row = world.connection(end);
        for traffic in [&mut row.sent, &mut row.received] {
            let traffic = traffic.as_mut().unwrap();
            traffic.messages = u64::MAX;
            traffic.idle_us = Some(10 * SECOND);
        }
    };
    let (mut world, client, link) = world();
    world.call(client, link, "Made.up", 30 * SECOND);
    for end in link.ends {
        set(&mut world, end);
    }
    world.explain();
    world.find_sockets(link);
    for conn_id in 1..4 {
        let ends = world.open_virtual(link, conn_id).ends;
        set(&mut world, ends[0]);
    }
    world.explain();
}

#[test]
fn a_crowd_of_peers() {
    let (mut world, ..) = world();
    let peers = (0..60_000).map(|port| Neighbour {
        pid: 4_001,
        peer: Peer::Unseen(format!("at 10.0.0.7:{port}, on another machine")),
        via: Via::Tcp,
    });
    world.facts.neighbours.extend(peers);
    check_time(&mut world);
}
