//! Registries in which nothing is as it should be.

use crate::fixture::Fixture;
use crate::measured;
use crate::run::Run;

/// Dumps the target as text and as JSON.
fn dump(task: &str) -> Run {
    let target = Fixture::start(&format!("hostile {task}"));
    let pid = target.pid();
    let json = measured::check(&["-p", &pid, "--json"]);
    if json.status == 0 {
        serde_json::from_str::<serde::de::IgnoredAny>(&json.stdout).unwrap();
    }
    measured::check(&["-p", &pid])
}

/// A dump that says what it left out.
fn check(task: &str, expected: &[&str]) {
    let run = dump(task);
    assert_eq!((run.status, &*run.stderr), (0, ""));
    let lines = run.stdout.lines().skip(1);
    let heading: Vec<_> = lines.take_while(|line| !line.starts_with("===")).collect();
    // Long lines are wrapped.
    let heading = heading.join(" ").replace("   ", " ");
    for part in expected {
        assert!(heading.contains(part), "{heading}");
    }
}

#[test]
fn every_field_at_every_extreme() {
    check("extremes", &[" invalid rows"]);
}

#[test]
fn tables_that_lie_on_one_another() {
    check("overlap", &[" invalid rows"]);
}

#[test]
fn rows_that_name_one_another_in_circles() {
    check("cycles", &["· complete"]);
}

#[test]
fn more_rows_than_are_shown() {
    check(
        "full",
        &[
            "younger requests left out",
            "83,616 younger channels left out",
            "names left out",
            "arguments left out",
        ],
    );
}

#[test]
fn more_slots_than_are_read() {
    check("slots", &["slots left out"]);
}

#[test]
fn rows_that_stay_half_written() {
    check("torn", &["183,616 slots left out", "16,384 torn rows"]);
}

#[test]
fn thousands_of_registries() {
    check("crowd", &["more memory mappings than roam-trace reads"]);
}

#[test]
fn many_registries_full_of_rows() {
    check("full crowd", &["younger requests left out"]);
}

#[test]
fn another_process_loses_nothing() {
    let targets = [Fixture::start("hang"), Fixture::start("hostile full")];
    let [honest, full] = targets.each_ref().map(Fixture::pid);
    let run = measured::check(&["-p", &honest, "-p", &full, "--json"]);
    let dump: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let gaps = |pid: &str| {
        let pid: &u32 = &pid.parse().unwrap();
        let mut processes = dump["processes"].as_array().unwrap().iter();
        let process = processes.find(|process| process["process"]["pid"] == *pid);
        process.unwrap()["gaps"].as_array().unwrap().clone()
    };
    assert_eq!(gaps(&honest), [] as [serde_json::Value; 0]);
    assert!(gaps(&full).iter().any(|gap| gap["gap"] == "truncated"));
}

#[test]
fn a_list_of_processes_with_one_that_has_too_much() {
    let target = Fixture::start("hostile full");
    let run = measured::check(&["list"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let pid = target.pid();
    let mut lines = run.stdout.lines();
    let line = lines.find(|line| line.split_whitespace().next() == Some(&pid));
    // How many are read depends on what else the machine runs.
    assert!(
        line.is_some_and(|line| line.contains("+ ")),
        "{}",
        run.stdout
    );
}

#[test]
fn a_terabyte_of_holes() {
    check("terabyte", &["· complete"]);
}

#[test]
fn rows_that_change_between_two_reads() {
    let run = dump("changing");
    assert_eq!((run.status, &*run.stderr), (0, ""));
}

/// At some looks there is a registry, at others not.
#[test]
fn a_file_that_shrinks_and_grows() {
    let run = dump("resizing");
    assert!(
        run.status == 0 || run.stderr.contains("registry"),
        "{run:?}"
    );
}
