//! Chains and cycles that are planted among noise are found, whatever else the
//! processes do.

use proptest::prelude::*;
use roam_diagnostic::registry::Phase;
use roam_dump::model::Delivering;
use roam_dump::model::{Code, Deadlock, NodeKind, ProcessState, WaitGraph};

use super::world::{Call, End, Link, SECOND, World};

const METHODS: [&str; 5] = [
    "Content.compile",
    "Content.watch",
    "Markdown.render",
    "Http.get",
    "Assets.resolve",
];

/// What is planted.
#[derive(Debug, Clone, Copy)]
enum Plant {
    /// Each process waits for the next; the handler of the last one runs.
    Chain,
    /// The last process is stopped.
    StoppedAtTheEnd,
    /// The handler of the last one is gone without an answer.
    PanickedAtTheEnd,
    /// The last one's driver waits for room in a channel that its handler does not read.
    FullChannelAtTheEnd,
    /// The handler of the last process calls over a link whose driver waits for the handler.
    Cycle,
    /// Each process has a handler in a call to the next, the last one in a call to the first.
    Ring,
}

#[derive(Debug, Clone)]
struct Scenario {
    processes: usize,
    /// Links beside those that the plant needs, by the indexes of their processes.
    links: Vec<(usize, usize, u64)>,
    /// Calls that are just being made: over which link, which method, which direction, how old.
    noise: Vec<(usize, usize, bool, u64)>,
    /// Calls that ended, so that ids and counters differ.
    ended: Vec<(usize, usize)>,
    plant: Plant,
    length: usize,
    first: usize,
    age_us: u64,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let plant = prop_oneof![
        Just(Plant::Chain),
        Just(Plant::StoppedAtTheEnd),
        Just(Plant::PanickedAtTheEnd),
        Just(Plant::FullChannelAtTheEnd),
        Just(Plant::Cycle),
        Just(Plant::Ring),
    ];
    (
        4_usize..=50,
        plant,
        2_usize..=12,
        1_100_000..500_000_000_u64,
    )
        .prop_flat_map(|(processes, plant, length, age_us)| {
            (
                prop::collection::vec(
                    (0..processes, 0..processes, SECOND..5_000 * SECOND),
                    0..3 * processes,
                ),
                prop::collection::vec(
                    (
                        any::<usize>(),
                        0..METHODS.len(),
                        any::<bool>(),
                        0..900_000_u64,
                    ),
                    0..6 * processes,
                ),
                prop::collection::vec((any::<usize>(), 1_usize..40), 0..2 * processes),
                0..processes,
            )
                .prop_map(move |(links, noise, ended, first)| Scenario {
                    processes,
                    links,
                    noise,
                    ended,
                    plant,
                    length: length.min(processes - 1),
                    first,
                    age_us,
                })
        })
}

/// What the graph must have first.
struct Expected {
    root: Vec<End>,
    deadlock: Option<Deadlock>,
    stopped: Option<usize>,
}

fn build(scenario: &Scenario) -> (World, Expected) {
    let mut world = World::new();
    for index in 0..scenario.processes {
        world.process(&format!("process-{index}"));
    }
    let mut links: Vec<Link> = scenario
        .links
        .iter()
        .filter(|(from, to, _)| from != to)
        .map(|&(from, to, age_us)| world.connect(from, to, scenario.age_us + age_us))
        .collect();
    let process = |step: usize| (scenario.first + step) % scenario.processes;
    let planted: Vec<Link> = (0..scenario.length)
        .map(|step| {
            let age_us = scenario.age_us + SECOND + 37_000 * step as u64;
            world.connect(process(step), process(step + 1), age_us)
        })
        .collect();
    links.extend(&planted);
    for &(link, count) in &scenario.ended {
        let link = links[link % links.len()];
        for _ in 0..count {
            let call = world.call(link.ends[0].process, link, "Content.find", SECOND);
            world.forget(call.caller);
            world.forget(call.callee);
            world.send(link.ends[1], link.ends[0], 33, SECOND);
        }
    }
    let expected = plant(scenario, &mut world, &planted);
    for &(link, method, forward, age_us) in &scenario.noise {
        let link = links[link % links.len()];
        let from = link.ends[usize::from(!forward)].process;
        world.call(from, link, METHODS[method], age_us);
    }
    (world, expected)
}

/// Calls along the links, each made by the handler of the one before.
fn calls(scenario: &Scenario, world: &mut World, links: &[Link]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for (step, &link) in links.iter().enumerate() {
        let age_us = scenario.age_us - 5_000 * step as u64;
        let method = METHODS[step % METHODS.len()];
        let call = match calls.last() {
            Some(before) => world.call_from(before.callee, link, method, age_us),
            None => world.call(link.ends[0].process, link, method, age_us),
        };
        calls.push(call);
    }
    calls
}

fn plant(scenario: &Scenario, world: &mut World, links: &[Link]) -> Expected {
    if let Plant::Ring = scenario.plant {
        return plant_ring(scenario, world, links);
    }
    let calls = calls(scenario, world, links);
    let (last, link) = (calls[calls.len() - 1], links[links.len() - 1]);
    let mut expected = Expected {
        root: vec![last.callee],
        deadlock: None,
        stopped: None,
    };
    match scenario.plant {
        Plant::Chain | Plant::Ring => {}
        Plant::StoppedAtTheEnd => {
            world.set_state(last.callee.process, ProcessState::Stopped);
            expected.stopped = Some(last.callee.process);
            expected.root.clear();
        }
        Plant::PanickedAtTheEnd => {
            world.request(last.callee).mark =
                Some(roam_diagnostic::registry::Mark::EndedWithoutAnswer);
        }
        Plant::FullChannelAtTheEnd | Plant::Cycle => {
            world.channel(3, last.caller, last.callee);
            world.connection(link.ends[1]).delivering = Some(Delivering {
                channel_id: 3,
                waiting_us: scenario.age_us - 100_000,
            });
        }
    }
    if let Plant::Cycle = scenario.plant {
        let back = world.call_from(
            last.callee,
            link,
            "Assets.resolve",
            scenario.age_us - 90_000,
        );
        world.request(back.caller).phase = Phase::HandedOver;
        world.forget(back.callee);
        expected.root.push(back.caller);
        expected.deadlock = Some(Deadlock::Certain);
    }
    expected
}

/// Somebody outside calls every process of the ring; each handler calls the next process.
fn plant_ring(scenario: &Scenario, world: &mut World, links: &[Link]) -> Expected {
    let outside = world.process("outside");
    let mut links = links.to_vec();
    let ends = [links[links.len() - 1].ends[1], links[0].ends[0]];
    let age_us = scenario.age_us + 2 * SECOND;
    links.push(world.connect(ends[0].process, ends[1].process, age_us));
    let mut bottom = Vec::new();
    for (step, &link) in links.iter().enumerate() {
        let step_us = 50_000 * step as u64;
        let age_us = scenario.age_us + SECOND - step_us;
        let door_us = scenario.age_us + 3 * SECOND - step_us;
        let door = world.connect(outside, link.ends[0].process, door_us);
        let entry = world.call(outside, door, "Content.compile", age_us);
        let call = world.call_from(entry.callee, link, "Markdown.render", age_us - 1_000);
        bottom.push(call.callee);
    }
    Expected {
        root: bottom,
        deadlock: Some(Deadlock::PossibleCycle),
        stopped: None,
    }
}

fn serials(graph: &WaitGraph, nodes: &[u32]) -> Vec<u64> {
    nodes
        .iter()
        .filter_map(|&node| match graph.nodes[node as usize].kind {
            NodeKind::Call { serial, .. } | NodeKind::Handler { serial, .. } => Some(serial),
            _ => None,
        })
        .collect()
}

fn check(scenario: &Scenario) {
    let (mut world, expected) = build(scenario);
    let graph = world.explain().graph;
    // Beside a possible cycle, every one of its nodes is a root of its own, and stands before it.
    let (root, others) = graph.roots.split_last().unwrap();
    let is_possible = expected.deadlock == Some(Deadlock::PossibleCycle);
    let expected_others = if is_possible { expected.root.len() } else { 0 };
    assert_eq!(others.len(), expected_others, "{:#?}", graph.roots);
    assert!(others.iter().all(|root| root.deadlock.is_none()));
    assert_eq!(root.deadlock, expected.deadlock);
    assert_ne!(root.is_alarm, is_possible);
    if let Some(stopped) = expected.stopped {
        let node = &graph.nodes[root.nodes[0] as usize];
        assert_eq!(node.kind, NodeKind::Process);
        assert_eq!(*node.process, world.snapshots[stopped].process);
    }
    let mut found = serials(&graph, &root.nodes);
    let mut planted: Vec<u64> = expected.root.iter().map(|row| row.serial).collect();
    found.sort_unstable();
    planted.sort_unstable();
    assert_eq!(found, planted);
    if let Some(row) = expected.root.first()
        && let Some(deadlock) = expected.deadlock
    {
        let code = match deadlock {
            Deadlock::Certain => Code::Deadlock,
            Deadlock::PossibleCycle => Code::HandlerRunning,
        };
        assert_eq!(world.verdict(row.serial).unwrap().code, code);
    }
    for snapshot in &world.snapshots {
        for row in &snapshot.requests {
            assert!(row.verdict.is_none() || row.age_us >= SECOND, "{row:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_planted_is_at_the_bottom(scenario in scenario()) {
        check(&scenario);
    }
}
