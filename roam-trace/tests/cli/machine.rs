//! `roam-trace list` and `roam-trace doctor`, as far as they are the same on every machine.

use crate::fixture::Fixture;
use crate::run::roam_trace;

#[test]
fn list() {
    let hung = Fixture::start("hang");
    let idle = Fixture::start("idle");
    let forked = Fixture::start("fork");
    let run = roam_trace(&["list"]);
    assert_eq!(run.status, 0);
    let line = |pid: &str| {
        let mut lines = run.stdout.lines();
        let line = lines.find(|line| line.split(' ').next() == Some(pid))?;
        let words: Vec<_> = line.split_ascii_whitespace().skip(1).collect();
        Some(words.join(" "))
    };
    assert_eq!(
        line("PID").unwrap(),
        "NAME SOURCES CONNECTIONS OUTGOING INCOMING CHANNELS"
    );
    assert_eq!(
        line(&hung.pid()).unwrap(),
        "fixture registry, probes 1 1 1 1"
    );
    assert_eq!(line(&idle.pid()).unwrap(), "fixture probes - - - -");
    assert_eq!(
        line(&forked.pid()).unwrap(),
        "fixture registry, probes 1 1 1 1"
    );
    assert_eq!(line(&forked.answer), None);
}

/// What doctor says of a process, without what it says of the machine.
fn doctor(pid: &str) -> String {
    let run = roam_trace(&["doctor", "-p", pid]);
    let executable = std::env::current_exe().unwrap();
    run.stdout
        .lines()
        .filter(|line| {
            ["process", "registry", "probes"]
                .contains(&line.split_ascii_whitespace().nth(1).unwrap())
        })
        .map(|line| {
            line.replace(executable.to_str().unwrap(), "[exe]")
                .replace(pid, "[pid]")
                + "\n"
        })
        .collect()
}

#[test]
fn doctor_of_processes() {
    let text = ["hang", "idle", "region version", "region rows"].map(|task| {
        let target = Fixture::start(task);
        format!("{task}:\n{}", doctor(&target.pid()))
    });
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn doctor_of_no_process() {
    let run = roam_trace(&["doctor", "-p", "2147483647"]);
    assert!(
        run.stdout
            .ends_with("todo  process       cannot read process 2147483647: it does not exist; `roam-trace list` shows the processes that can be read\n")
    );
    assert_eq!(run.status, 1);
}
