//! The wait graph as people see it.

use roam_diagnostic::registry::{Direction, Phase};
use roam_dump::model::Delivering;
use roam_dump::model::{Code, ProcessState};
use roam_dump::render::{dot, graph};

use super::world::{Call, Link, SECOND, World, as_text};

/// A host waits for a cell, which waits for another.
fn chain() -> World {
    let mut world = World::new();
    let host = world.process("demo-host");
    let http = world.process("cell-http");
    let markdown = world.process("cell-markdown");
    let first = world.connect(host, http, 60 * SECOND);
    let second = world.connect(http, markdown, 60 * SECOND);
    // The host's own handler, whose caller is not traced.
    let browser = world.process("browser");
    let third = world.connect(browser, host, 60 * SECOND);
    let open = world.call(browser, third, "TcpTunnel.open", 453 * SECOND / 10);
    let get = world.call_from(open.callee, first, "Http.get", 452 * SECOND / 10);
    world.call_from(get.callee, second, "Markdown.render", 451 * SECOND / 10);
    world.trace_only(&[host, http, markdown]);
    world
}

#[test]
fn text_of_a_chain() {
    insta::assert_snapshot!(as_text(&chain().explain().graph));
}

#[test]
fn dot_of_a_chain() {
    let mut out = Vec::new();
    dot::render(&mut out, &chain().explain().graph).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn json_of_a_chain() {
    let graph = chain().explain().graph;
    insta::assert_snapshot!(serde_json::to_string_pretty(&graph).unwrap());
}

#[test]
fn text_of_nothing_that_waits() {
    insta::assert_snapshot!(as_text(&World::new().explain().graph));
}

#[test]
fn the_first_root_in_one_line() {
    let graph = chain().explain().graph;
    assert_eq!(
        graph::root_line(&graph, graph.alarms(0)[0]),
        "cell-markdown[4003] Markdown.render running (req_id=1): it has no call out; it computes, or waits inside its process or for I/O outside roam; judged by its age alone: no call was answered before"
    );
}

#[test]
fn the_way_from_a_call_to_its_root_blocker() {
    let world = chain();
    let [host, http, _] = &world.snapshots[..] else {
        panic!("three processes are traced");
    };
    let (pid, serial) = (host.process.pid, host.requests[0].serial);
    assert_eq!(host.requests[0].method.as_deref(), Some("TcpTunnel.open"));
    let graph = world.clone().explain().graph;
    let lines = graph::chain(&graph, pid, serial);
    insta::assert_snapshot!(lines.join("\n"));
    // From the middle, the rest of it.
    let middle = graph::chain(&graph, http.process.pid, http.requests[0].serial);
    assert_eq!(middle.last(), lines.last());
    assert!(middle.len() < lines.len());
    assert_eq!(graph::chain(&graph, 1, serial), [""; 0]);
}

#[test]
fn text_of_many_equal_calls() {
    let mut world = World::new();
    let host = world.process("demo-host");
    let cell = world.process("cell-http");
    let link = world.connect(host, cell, 600 * SECOND);
    for count in 0..500 {
        world.call(host, link, "Http.watch", (count + 10) * SECOND);
    }
    let slow = world.call(host, link, "Http.get", 5 * SECOND);
    let next = world.process("cell-markdown");
    let link = world.connect(cell, next, 600 * SECOND);
    for _ in 0..5 {
        world.call_from(slow.callee, link, "Markdown.render", 4 * SECOND);
    }
    insta::assert_snapshot!(as_text(&world.explain().graph));
}

/// A full channel of `reader`, and a call that is stuck behind it.
fn full_channel(world: &mut World, link: Link, upload: Call) -> Call {
    world.channel(3, upload.caller, upload.callee);
    let reader = if link.ends[0].process == upload.callee.process {
        link.ends[0]
    } else {
        link.ends[1]
    };
    world.connection(reader).delivering = Some(Delivering {
        channel_id: 3,
        waiting_us: 12 * SECOND,
    });
    let behind = world.call(upload.caller.process, link, "Http.get", 10 * SECOND);
    world.forget(behind.callee);
    behind
}

#[test]
fn text_of_calls_behind_a_full_channel() {
    let mut world = World::new();
    let host = world.process("demo-host");
    let cell = world.process("cell-http");
    let link = world.connect(host, cell, 60 * SECOND);
    let upload = world.call(host, link, "TcpTunnel.upload", 15 * SECOND);
    full_channel(&mut world, link, upload);
    // The cell's answer to another call, and a call of its own, wait behind the same driver.
    let held = world.call(host, link, "Http.compile", 14 * SECOND);
    world.request(held.callee).phase = Phase::Responding;
    let resolve = world.call(cell, link, "Assets.resolve", 9 * SECOND);
    world.forget(resolve.callee);
    world.request(resolve.caller).phase = Phase::HandedOver;
    insta::assert_snapshot!(as_text(&world.explain().graph));
}

#[test]
fn text_of_a_process_that_is_stopped() {
    let mut world = chain();
    world.set_state(2, ProcessState::Stopped);
    insta::assert_snapshot!(as_text(&world.explain().graph));
}

#[test]
fn text_of_peers_that_are_not_traced() {
    let mut world = chain();
    world.trace_only(&[0]);
    insta::assert_snapshot!(as_text(&world.explain().graph));
}

/// The handler reads its channel only after its own call over the same link has returned.
#[test]
fn text_of_a_certain_deadlock() {
    let mut world = World::new();
    let host = world.process("demo-host");
    let cell = world.process("cell-http");
    let link = world.connect(host, cell, 60 * SECOND);
    let upload = world.call(host, link, "TcpTunnel.upload", 15 * SECOND);
    full_channel(&mut world, link, upload);
    let resolve = world.call_from(upload.callee, link, "Assets.resolve", 9 * SECOND);
    world.forget(resolve.callee);
    let graph = world.explain().graph;
    assert_eq!(
        world.verdict(resolve.caller.serial).unwrap().code,
        Code::Deadlock
    );
    insta::assert_snapshot!(as_text(&graph));
}

/// Two cells, each in a call to the other, made by handlers that the host has called.
fn mutual() -> (World, [Call; 4]) {
    let mut world = World::new();
    let host = world.process("demo-host");
    let [a, b] = ["cell-1", "cell-2"].map(|name| world.process(name));
    let [to_a, to_b] = [a, b].map(|cell| world.connect(host, cell, 60 * SECOND));
    let between = world.connect(a, b, 60 * SECOND);
    let into_a = world.call(host, to_a, "Content.compile", 20 * SECOND);
    let into_b = world.call(host, to_b, "Content.compile", 21 * SECOND);
    let a_to_b = world.call_from(into_a.callee, between, "Markdown.convert", 19 * SECOND);
    let b_to_a = world.call_from(into_b.callee, between, "Markdown.convert", 18 * SECOND);
    (world, [into_a, into_b, a_to_b, b_to_a])
}

#[test]
fn text_of_a_possible_cycle() {
    let (mut world, [_, _, a_to_b, b_to_a]) = mutual();
    let graph = world.explain().graph;
    for call in [a_to_b, b_to_a] {
        for row in [call.caller, call.callee] {
            let verdict = world.verdict(row.serial).unwrap();
            assert_eq!(verdict.code, Code::HandlerRunning);
            let text = &verdict.text;
            assert!(
                text.ends_with("; in a possible cycle of the wait graph"),
                "{text}"
            );
        }
    }
    insta::assert_snapshot!(as_text(&graph));
}

#[test]
fn calls_of_unknown_handlers_are_no_deadlock() {
    let (mut world, [_, _, a_to_b, b_to_a]) = mutual();
    for call in [a_to_b, b_to_a] {
        world.request(call.caller).parent = None;
    }
    let graph = world.explain().graph;
    assert!(graph.roots.iter().all(|root| root.deadlock.is_none()));
    insta::assert_snapshot!(as_text(&graph));
}

#[test]
fn a_call_back_into_the_caller_is_no_deadlock() {
    let mut world = World::new();
    let host = world.process("demo-host");
    let cell = world.process("cell-1");
    let link = world.connect(host, cell, 60 * SECOND);
    let browser = world.process("browser");
    let from_browser = world.connect(browser, host, 60 * SECOND);
    let page = world.call(browser, from_browser, "Page.get", 20 * SECOND);
    let compile = world.call_from(page.callee, link, "Content.compile", 20 * SECOND);
    let resolve = world.call_from(compile.callee, link, "Assets.resolve", 20 * SECOND);
    let graph = world.explain().graph;
    assert_eq!(graph.roots.len(), 1);
    assert_eq!(graph.roots[0].deadlock, None);
    assert_eq!(
        world.verdict(resolve.callee.serial).unwrap().code,
        Code::HandlerRunning
    );
}

/// A chain of calls of a process to itself, whose last handler waits for calls that nobody answers.
fn check_ranking(chain: usize, unanswered: usize, is_incomplete: bool) {
    let mut world = World::new();
    let [orders, db] = ["orders", "db"].map(|name| world.process(name));
    let own = world.connect(orders, orders, 60 * SECOND);
    let out = world.connect(orders, db, 60 * SECOND);
    world.find_sockets(own);
    let mut last = world.call(orders, own, "Orders.place", 50 * SECOND);
    for _ in 1..chain {
        last = world.call_from(last.callee, own, "Orders.place", 50 * SECOND);
    }
    for _ in 0..unanswered {
        world.call_from(last.callee, out, "Db.get", 50 * SECOND);
    }
    world.trace_only(&[orders]);
    let graph = world.explain().graph;
    assert_eq!(graph.roots.len(), unanswered);
    assert_eq!(graph.is_ranking_incomplete, is_incomplete);
    let text = as_text(&graph);
    assert_eq!(text.contains("ranking incomplete: "), is_incomplete);
}

#[test]
fn a_ranking_that_is_given_up_says_so() {
    check_ranking(10, 10, false);
    check_ranking(1_500, 7_000, true);
}

/// Text without its numbers.
fn without_digits(text: &str) -> String {
    text.replace(|char: char| char.is_ascii_digit(), "")
}

#[test]
fn the_picture_in_the_documentation_shows_what_dot_prints() {
    let mut world = World::new();
    let [host, first, second] =
        ["demo-host", "demo-cell-1", "demo-cell-2"].map(|name| world.process(name));
    let front = world.connect(host, first, 60 * SECOND);
    let back = world.connect(first, second, 60 * SECOND);
    let compile = world.call(host, front, "ContentService.compile", 11 * SECOND);
    world.call_from(compile.callee, back, "Markdown.convert", 11 * SECOND);
    world.answered(
        second,
        Direction::Incoming,
        "Markdown.convert",
        41,
        [9_700, 21_000],
    );
    let mut dot = Vec::new();
    dot::render(&mut dot, &world.explain().graph).unwrap();
    let dot = String::from_utf8(dot).unwrap();
    let labels = dot.split("label=\"").skip(1);
    let labels = labels.map(|rest| without_digits(rest.split('"').next().unwrap()));
    let picture = include_str!("../../../docs/wait-graph.svg");
    let picture = without_digits(&picture.replace("&#45;", "-"));
    let labels: Vec<_> = labels.collect();
    assert_eq!(labels.len(), 4);
    for label in labels {
        assert!(picture.contains(&format!(">{label}</text>")), "{label}");
    }
}
