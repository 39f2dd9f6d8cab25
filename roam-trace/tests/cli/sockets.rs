//! Which sockets connections use.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::dump::processes;
use crate::fixture::Fixture;
use crate::run::{roam_trace, roam_trace_as, wait_until};

/// The connections of the first process of a dump, in the order of their slots.
fn connections(arguments: &[&str]) -> Vec<Value> {
    let run = roam_trace(&[arguments, &["--json"]].concat());
    let processes = processes(&run);
    let mut rows = processes[0]["connections"].as_array().unwrap().clone();
    rows.sort_by_key(|row| row["serial"].as_u64());
    rows
}

fn check_sockets(rows: &[Value], descriptors: &str, peer: &str, confidence: &str) {
    let descriptors: Vec<u64> = descriptors
        .split(' ')
        .map(|number| number.parse().unwrap())
        .collect();
    let found: Vec<_> = rows
        .iter()
        .map(|row| row["socket"]["descriptor"].as_u64().unwrap_or_default())
        .collect();
    assert_eq!(found, descriptors, "{rows:#?}");
    for row in rows {
        assert_eq!(row["socket"]["confidence"], confidence, "{row:#}");
        assert_eq!(row["socket_unknown"], Value::Null);
        assert_eq!(row["peer"]["pid"].to_string(), peer, "{row:#}");
    }
}

/// A server and a client with a pool of links, in which calls hang.
fn pool(name: &str) -> [Fixture; 2] {
    let name = format!("{name}-{}", std::process::id());
    let server = Fixture::start(&format!("serve {name}"));
    let client = Fixture::start(&format!("call {name}")).until_stuck();
    wait_until("the server has accepted", || {
        roam_trace(&["-p", &server.pid()]).status == 0
    });
    [server, client]
}

fn pid_of(fixture: &Fixture) -> u32 {
    fixture.pid().parse().unwrap()
}

#[test]
fn a_process_is_its_own_peer() {
    let target = Fixture::start("loopback").until_stuck();
    let rows = connections(&["-p", &target.pid()]);
    check_sockets(&rows, &target.answer, &target.pid(), "known");
    let [tcp, back] = [&rows[0]["socket"], &rows[1]["socket"]];
    assert_eq!(
        (&tcp["local"], &tcp["remote"]),
        (&back["remote"], &back["local"])
    );
    assert!(tcp["local"].as_str().unwrap().starts_with("127.0.0.1:"));
    let path = format!("@roam-trace-loopback-{}", target.pid());
    assert_eq!(rows[4]["socket"]["remote"], json!(path));
    assert_eq!(rows[5]["socket"]["local"], json!(path));
    let text = roam_trace(&["-p", &target.pid()]).stdout;
    let peer = format!("  → fixture[{}]  ", target.pid());
    for expected in [&peer, &format!("(to {path})\n")] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn links_of_a_pool_are_told_apart() {
    let [server, client] = pool("pool");
    let rows = connections(&["-p", &client.pid(), "-p", &server.pid()]);
    check_sockets(&rows, &client.answer, &server.pid(), "known");
    for row in &rows {
        assert_eq!(row["socket"]["unsent_bytes"], 500, "{row:#}");
    }
    let rows = connections(&["-p", &server.pid(), "-p", &client.pid()]);
    for row in &rows {
        assert_eq!(row["socket"]["unread_bytes"], 500, "{row:#}");
        assert_eq!(row["peer"]["pid"].to_string(), client.pid());
        // Nobody reads them.
        assert_eq!(row["verdict"]["code"], "runtime_starved", "{row:#}");
        let evidence = row["verdict"]["evidence"].as_array().unwrap();
        let unread = json!({"fact": "unread", "pid": pid_of(&server), "bytes": 500});
        assert!(evidence.contains(&unread), "{row:#}");
    }
}

#[test]
fn the_process_that_others_were_forked_from_is_the_peer() {
    let [server, client] = pool("alone");
    let rows = connections(&["-p", &client.pid(), "--no-follow"]);
    // Nothing was seen of the other end.
    check_sockets(&rows, &client.answer, &server.pid(), "high");
}

#[test]
fn of_a_stopped_process_every_link_is_known() {
    let [server, client] = pool("stopped");
    let server_pid = rustix::process::Pid::from_raw(pid_of(&server) as i32).unwrap();
    rustix::process::kill_process(server_pid, rustix::process::Signal::STOP).unwrap();
    let run = roam_trace(&["-p", &client.pid(), "-p", &server.pid(), "--json"]);
    let requests = &processes(&run)[0]["requests"];
    for row in requests.as_array().unwrap() {
        assert_eq!(row["verdict"]["code"], "peer_stopped", "{row:#}");
    }
    assert_eq!(requests.as_array().unwrap().len(), 4);
}

#[test]
#[ignore = "needs root"]
fn page_faults_that_the_process_does_not_handle_do_not_hang_the_tracer() {
    let target = Fixture::start("unanswered").until_stuck();
    let started = Instant::now();
    let rows = connections(&["-p", &target.pid()]);
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    // It depends on the kernel whether reading fails or waits, and whether it lists sockets at all.
    let unknown = rows[1]["socket_unknown"].as_str().unwrap();
    let possible = ["not_found", "timeout", "unreadable"];
    assert!(possible.contains(&unknown), "{rows:#?}");
}

#[test]
#[ignore = "needs root"]
fn memory_of_another_user_is_not_read() {
    let target = Fixture::start_as(65_534, "loopback").until_stuck();
    let run = roam_trace_as(65_533, &["-p", &target.pid(), "--json"]);
    assert_eq!(run.status, 3, "{}", run.stderr);
}
