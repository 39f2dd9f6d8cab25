//! Processes that others wait for, and that nobody named.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use serde_json::{Value, json};

use super::dump::processes;
use crate::fixture::Fixture;
use crate::run::{roam_trace, roam_trace_as, wait_until};

fn name(of: &str) -> String {
    format!("follow-{of}-{}", std::process::id())
}

/// The pids of the processes of a dump, and which of them were added.
fn pids(processes: &[Value]) -> Vec<(String, bool)> {
    let of = |process: &Value| {
        let pid = process["process"]["pid"].to_string();
        (pid, process["followed"] == true)
    };
    processes.iter().map(of).collect()
}

fn wait_until_accepted(server: &Fixture) {
    wait_until("the server has accepted", || {
        roam_trace(&["-p", &server.pid()]).status == 0
    });
}

#[test]
fn who_is_waited_for_is_read_too() {
    let name = name("pool");
    let server = Fixture::start(&format!("serve {name}"));
    let client = Fixture::start(&format!("call {name}")).until_stuck();
    wait_until_accepted(&server);
    let both = [(client.pid(), false), (server.pid(), true)];
    let run = roam_trace(&["-p", &client.pid(), "--json"]);
    assert_eq!(pids(&processes(&run)), both);
    let run = roam_trace(&["-p", &client.pid()]);
    let added = format!("\nadded: fixture[{}]\n", server.pid());
    assert!(run.stdout.contains(&added), "{}", run.stdout);
    // Those that were named anyway are not added, nor are those that wait for others.
    let run = roam_trace(&["-p", &client.pid(), "-p", &server.pid(), "--json"]);
    assert_eq!(
        pids(&processes(&run)),
        [(client.pid(), false), (server.pid(), false)]
    );
    let run = roam_trace(&["-p", &client.pid(), "--no-follow", "--json"]);
    let processes = processes(&run);
    assert_eq!(pids(&processes), [(client.pid(), false)]);
    // The peer is shown nevertheless.
    let peer = &processes[0]["connections"][0]["peer"];
    assert_eq!(peer["pid"].to_string(), server.pid());
    assert_eq!(peer["name"], "fixture");
}

#[test]
fn a_process_that_is_read_again_keeps_its_user_uptime_and_command_line() {
    let name = name("again");
    let server = Fixture::start(&format!("serve {name}"));
    let client = Fixture::start(&format!("call {name}")).until_stuck();
    wait_until_accepted(&server);
    let run = roam_trace(&["-p", &client.pid(), "--json", "-v"]);
    // Its drivers do not run, which counts only if they still do not when it is read again.
    let again = format!(
        "verdicts on processes {{{}}} need confirmation",
        server.pid()
    );
    assert!(run.stderr.contains(&again), "{}", run.stderr);
    for process in processes(&run) {
        let details = &process["details"];
        assert!(details["uid"].is_u64(), "{process:#}");
        assert!(details["uptime_us"].as_u64() > Some(0), "{process:#}");
        assert!(details["command_line"].is_string(), "{process:#}");
    }
}

#[test]
fn why_one_is_not_followed_is_a_gap() {
    let name = name("bare");
    let address = SocketAddr::from_abstract_name(format!("roam-trace-{name}")).unwrap();
    // This process has no registry.
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let accept = std::thread::spawn({
        let listener = _listener.try_clone().unwrap();
        move || [(); 4].map(|()| listener.accept().unwrap())
    });
    let client = Fixture::start(&format!("call {name}")).until_stuck();
    let _accepted = accept.join().unwrap();
    let run = roam_trace(&["-p", &client.pid(), "--json"]);
    let processes = processes(&run);
    assert_eq!(processes.len(), 1);
    let gap = &processes[0]["gaps"][0];
    assert_eq!(gap["gap"], "not_followed", "{:#}", processes[0]["gaps"]);
    assert_eq!(gap["process"]["pid"], json!(std::process::id()));
    assert_eq!(gap["reason"], "it has no registry of its own");
    let alone = roam_trace(&["-p", &client.pid(), "--no-follow"]);
    assert!(alone.stdout.contains("complete"), "{}", alone.stdout);
}

#[test]
#[ignore = "needs root"]
fn processes_of_other_users_are_followed_where_they_may_be_read() {
    let name = name("users");
    let server = Fixture::start_as(65_533, &format!("serve {name}"));
    let client = Fixture::start_as(65_534, &format!("call {name}")).until_stuck();
    wait_until_accepted(&server);
    let run = roam_trace(&["-p", &client.pid(), "--json"]);
    assert_eq!(
        pids(&processes(&run)),
        [(client.pid(), false), (server.pid(), true)]
    );
    let run = roam_trace_as(65_534, &["-p", &client.pid(), "--json"]);
    let processes = processes(&run);
    assert_eq!(pids(&processes), [(client.pid(), false)]);
    let gaps = processes[0]["gaps"].to_string();
    assert!(
        gaps.contains("not followed: the peer is a process that cannot be read"),
        "{gaps}"
    );
    assert_eq!(run.status, 0);
}
