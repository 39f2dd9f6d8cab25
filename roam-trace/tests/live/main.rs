//! Live views of real processes, on a real kernel: what they print is what the processes' own logs say, also where the
//! reader is slow, and they end when they should.
//!
//! To be run one after the other, as `cargo xtask test` does: what is attached is counted over all processes.

#[path = "../faults/attached.rs"]
mod attached;
mod load;
#[path = "../../../testing/watchdog.rs"]
mod watchdog;
mod watching;

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use roam_trace_common::latency::{BUCKETS, bucket_of, ns_of_units, units_of_ns, upper_bound};
use rustix::process::Signal;

use load::{Load, Orders};
use watching::{Watching, histogram, wait_for};

#[test]
#[ignore = "needs root"]
fn every_end_is_printed_once() {
    let load = Load::start(&["threads=4"]);
    let watching = Watching::start(load.pid(), &[]);
    load.run(20_000);
    let seen = watching.stop();
    assert_eq!(seen.lost(), 0);
    let ends = seen.of("request_end");
    assert_eq!(ends.len() as u64, load.log.ended().done);
    assert_eq!(ends.len(), seen.events.len());
    let serials: BTreeSet<_> = ends.iter().map(|end| end["request"].to_string()).collect();
    assert_eq!(serials.len(), ends.len());
    for end in ends {
        assert_eq!(end["method"], "Load.work");
        assert_eq!(end["connection_name"], "load");
        assert_eq!(end["direction"], "outgoing");
        assert_eq!(end["outcome"], "ok");
        assert_eq!(end["request_bytes"], 8);
        assert!(end["latency_ns"].as_u64().unwrap() < 5_000_000_000);
    }
}

#[test]
#[ignore = "needs root"]
fn every_event_of_a_request_and_its_channel_is_printed() {
    let load = Load::start(&["threads=2"]);
    let watching = Watching::start(load.pid(), &["--events", "all"]);
    load.run(3_000);
    let seen = watching.stop();
    assert_eq!(seen.lost(), 0);
    let requests = load.log.ended().done as usize;
    let count = |event: &str| seen.of(event).len();
    assert_eq!(count("request_start"), requests);
    assert_eq!(count("request_phase"), requests);
    assert_eq!(count("request_end"), requests);
    let channels = count("channel_open");
    assert!(channels > 0);
    assert_eq!(count("channel_data"), channels);
    assert_eq!(count("channel_close"), channels);
    for data in seen.of("channel_data") {
        assert_eq!(data["bytes"], 100);
        assert_eq!(data["channel_direction"], "tx");
        assert_eq!(data["method"], "Load.work");
    }
}

/// Percentiles of both are bounds of buckets.
#[test]
#[ignore = "needs root"]
fn a_histogram_agrees_with_the_log_within_a_bucket() {
    let load = Load::start(&["threads=2", "latency_us=2000"]);
    let watching = Watching::start_as("histogram", load.pid(), &[]);
    load.run(1_000);
    let report = histogram(watching);
    let [method] = &report["processes"][0]["methods"].as_array().unwrap()[..] else {
        panic!("{report:#}");
    };
    assert_eq!(method["method"], "Load.work");
    assert_eq!(method["direction"], "outgoing");
    let latencies = load.log.latencies();
    assert_eq!(method["calls"], latencies.iter().sum::<u64>());
    let mut buckets = [0; BUCKETS];
    for bucket in method["buckets"].as_array().unwrap() {
        let upper_ns = bucket["upper_ns"].as_u64().unwrap();
        buckets[bucket_of(units_of_ns(upper_ns))] = bucket["calls"].as_u64().unwrap();
    }
    assert_eq!(buckets.iter().sum::<u64>(), latencies.iter().sum::<u64>());
    for (name, percent) in [("p50_us", 50), ("p90_us", 90), ("p99_us", 99)] {
        let (counted, logged) = (
            percentile(&buckets, percent),
            percentile(&latencies, percent),
        );
        assert!(counted.abs_diff(logged) <= 1, "{name} {counted} {logged}");
        let bound_us = ns_of_units(upper_bound(counted)).div_ceil(1_000);
        assert_eq!(method["latency"][name], bound_us, "{name}");
    }
}

fn percentile(buckets: &[u64; BUCKETS], percent: u64) -> usize {
    let rank = (buckets.iter().sum::<u64>() * percent).div_ceil(100);
    let mut below = 0;
    let holds = |calls: &u64| {
        below += calls;
        below >= rank
    };
    buckets.iter().position(holds).unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_histogram_has_what_the_filters_let_pass() {
    let mut orders = Orders::start("on");
    let watching = Watching::start_as("histogram", orders.pid(), &["--direction", "incoming"]);
    let made: u64 = orders.order("paced 1").parse().unwrap();
    let report = histogram(watching);
    let methods = report["processes"][0]["methods"].as_array().unwrap();
    assert_eq!(methods.len(), 1);
    assert_eq!(methods[0]["method"], "Load.rare");
    assert_eq!(methods[0]["calls"], made / 100);
}

/// Of those that are made, every hundredth differs in method, direction and outcome.
#[test]
#[ignore = "needs root"]
fn filters_leave_out_what_they_should() {
    let mut orders = Orders::start("on");
    for filter in [
        &["--method", "*.rare"][..],
        &["--direction", "incoming"],
        &["--outcome", "user-error"],
        &[
            "--method",
            "Load.*",
            "--outcome",
            "user-error",
            "--events",
            "all",
            "--direction",
            "incoming",
        ],
    ] {
        let watching = Watching::start(orders.pid(), filter);
        let made: usize = orders.order("paced 1").parse().unwrap();
        let seen = watching.stop();
        assert_eq!(seen.lost(), 0, "{filter:?}");
        let ends = seen.of("request_end");
        assert_eq!(ends.len(), made / 100, "{filter:?}");
        assert!(ends.iter().all(|end| end["method"] == "Load.rare"));
    }
    let watching = Watching::start(orders.pid(), &["--method", "Other.*"]);
    orders.order("calls 1000");
    assert!(watching.stop().events.is_empty());
}

/// Two tracers, of which one has no filter: the times that they measure differ by that of a probe.
#[test]
#[ignore = "needs root"]
fn calls_that_are_fast_enough_are_left_out() {
    const MIN_NS: u64 = 10_000_000;
    const NEAR_NS: u64 = 1_000_000;
    let load = Load::start(&["threads=2", "latency_us=2000"]);
    let all = Watching::start(load.pid(), &[]);
    let slow = Watching::start(load.pid(), &["--min-latency", "10ms"]);
    load.run(300);
    let (all, slow) = (all.stop(), slow.stop());
    let slower_than = |latency_ns: u64| -> BTreeSet<String> {
        let ends = all.of("request_end").into_iter();
        ends.filter(|end| end["latency_ns"].as_u64().unwrap() >= latency_ns)
            .map(|end| end["request"].to_string())
            .collect()
    };
    let slow: BTreeSet<String> = slow
        .of("request_end")
        .iter()
        .map(|end| end["request"].to_string())
        .collect();
    assert!(slow.is_superset(&slower_than(MIN_NS + NEAR_NS)));
    assert!(slow.is_subset(&slower_than(MIN_NS - NEAR_NS)));
    assert!(slow.len() >= 30 && slow.len() < all.events.len());
}

#[test]
#[ignore = "needs root"]
fn what_a_slow_reader_misses_is_counted() {
    const CALLS: u64 = 200_000;
    let mut orders = Orders::start("on");
    let watching = Watching::start(orders.pid(), &[]);
    orders.order("calls 1000");
    watching.signal(Signal::STOP);
    orders.order(&format!("calls {CALLS}"));
    watching.signal(Signal::CONT);
    wait_for("the reader to catch up", || watching.has_lost());
    orders.order("calls 1000");
    let seen = watching.stop();
    assert!(seen.lost() > 0);
    assert_eq!(
        seen.of("request_end").len() as u64 + seen.lost(),
        CALLS + 2_000
    );
    // They happened before the last calls.
    let last = seen.events.last().unwrap();
    assert_eq!(last["event"], "request_end");
    assert!(
        seen.stderr.contains(&format!("{} lost", seen.lost())),
        "{}",
        seen.stderr
    );
}

#[test]
#[ignore = "needs root"]
fn requests_that_began_before_have_their_latency_or_none() {
    for diagnostic in ["on", "probes"] {
        let mut orders = Orders::start(diagnostic);
        orders.order("rows 5");
        std::thread::sleep(Duration::from_millis(300));
        let watching = Watching::start(orders.pid(), &[]);
        orders.order("end 5");
        orders.order("calls 3");
        let seen = watching.stop();
        let ends = seen.of("request_end");
        assert_eq!(ends.len(), 8);
        for end in &ends[..5] {
            match diagnostic {
                "on" => {
                    assert!(end["latency_ns"].as_u64().unwrap() >= 300_000_000);
                    assert_eq!(end["method"], "Load.work");
                }
                _ => assert!(end.get("latency_ns").is_none() && end.get("method").is_none()),
            }
        }
        for end in &ends[5..] {
            assert!(end["latency_ns"].as_u64().unwrap() < 300_000_000);
            assert_eq!(end["method"], "Load.work");
        }
    }
    let mut orders = Orders::start("probes");
    orders.order("rows 5");
    let watching = Watching::start(orders.pid(), &["--min-latency", "1ms"]);
    orders.order("end 5");
    let seen = watching.stop();
    assert!(seen.events.is_empty());
    assert!(
        seen.stderr
            .contains("5 requests ended whose start was not seen"),
        "{}",
        seen.stderr
    );
}

#[test]
#[ignore = "needs root"]
fn watching_ends_with_the_target_or_after_a_while() {
    let mut orders = Orders::start("on");
    let watching = Watching::start(orders.pid(), &[]);
    orders.order("calls 10");
    orders.exit();
    let seen = watching.finish();
    assert_eq!(seen.events.len(), 10);
    assert!(seen.stderr.contains("] exited"), "{}", seen.stderr);

    let mut orders = Orders::start("on");
    let watching = Watching::start(orders.pid(), &["-d", "1s"]);
    orders.order("calls 10");
    assert_eq!(watching.finish().events.len(), 10);
}

#[test]
#[ignore = "needs root"]
fn watching_ends_when_nobody_reads() {
    let mut orders = Orders::start("on");
    // Nothing happens that would have to be written.
    let mut watching = watch(&orders, &[]);
    drop(watching.stdout.take());
    wait_for("the end", || watching.try_wait().unwrap().is_some());
    // The reader stays, and takes nothing.
    let mut watching = watch(&orders, &["-d", "2s"]);
    let mut first = [0; 4];
    watching
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    orders.order("calls 20000");
    wait_for("the end", || watching.try_wait().unwrap().is_some());
    assert!(watching.wait().unwrap().success());
}

/// As text: its heading is written before anything happens.
fn watch(orders: &Orders, arguments: &[&str]) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_roam-trace"))
        .args(["watch", "-p", &orders.pid().to_string()])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_tracer_that_is_killed_leaves_no_probe() {
    for command in ["watch", "histogram"] {
        let mut orders = Orders::start("on");
        let watching = Watching::start_as(command, orders.pid(), &[]);
        orders.order("calls 1000");
        assert!(attached::sites(orders.pid()).unwrap().changed > 0);
        watching.kill();
        wait_for("the probes to be gone", || {
            attached::links() == 0 && attached::sites(orders.pid()).unwrap().changed == 0
        });
        orders.order("calls 1000");
    }
}
