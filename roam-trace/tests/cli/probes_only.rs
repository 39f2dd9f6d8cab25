//! Processes that were started with `ROAM_DIAGNOSTIC=probes`, without probes attached: nothing may look as if
//! nothing was in flight.

use std::process::Command;

use serde_json::Value;

use crate::fixture::Fixture;
use crate::run::roam_trace;

const UNKNOWN: &str =
    "requests and statistics are unknown: the process was started with ROAM_DIAGNOSTIC=probes";

fn start() -> Fixture {
    let mut fixture = Command::new(std::env::current_exe().unwrap());
    fixture.env("ROAM_DIAGNOSTIC", "probes");
    Fixture::start_by(fixture, "hang")
}

#[test]
fn a_dump_is_incomplete() {
    let target = start();
    let run = roam_trace(&["-p", &target.pid()]);
    let text = run.stdout.split_ascii_whitespace().collect::<Vec<_>>();
    let text = text.join(" ");
    assert!(text.contains(&format!("incomplete: {UNKNOWN}")), "{text}");
    assert!(text.contains("roam-trace arm"), "{text}");
    assert!(text.contains("requests unknown"), "{text}");
    for claim in ["no request", "nothing is stuck", "healthy"] {
        assert!(!text.contains(claim), "{claim}: {text}");
    }
    let run = roam_trace(&["-p", &target.pid(), "--json"]);
    let dump: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
    let process = &dump["processes"][0];
    let gaps = serde_json::json!([{"gap": "probes_only", "attached": false}]);
    assert_eq!(process["gaps"], gaps);
    assert_eq!(process["connections"].as_array().unwrap().len(), 1);
    let tables = process["tables"].as_array().unwrap();
    assert!(tables.iter().all(|table| table["table"] != "requests"));
}

#[test]
fn the_other_commands_say_so_too() {
    let target = start();
    let pid = target.pid();
    let stats = roam_trace(&["stats", "-p", &pid, "--interval", "0s"]).stdout;
    assert!(stats.contains(UNKNOWN), "{stats}");
    assert!(!stats.contains("no call has ended"), "{stats}");
    let doctor = roam_trace(&["doctor", "-p", &pid]).stdout;
    let line = doctor.lines().find(|line| line.contains(UNKNOWN));
    assert!(
        line.is_some_and(|line| line.starts_with("todo")),
        "{doctor}"
    );
    let list = roam_trace(&["list"]).stdout;
    let line = list
        .lines()
        .find(|line| line.split_whitespace().next() == Some(&pid));
    let words: Vec<_> = line.unwrap().split_ascii_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("fixture - - - - 1 1 "), "{words}");
    assert!(
        words.contains("requests with -d or armed (ROAM_DIAGNOSTIC=probes)"),
        "{words}"
    );
}
