//! `roam-trace list` and `roam-trace doctor`, as far as they are the same on every machine.

use crate::fixture::Fixture;
use crate::run::roam_trace;

#[test]
fn list() {
    let idle = Fixture::start("idle");
    let forked = Fixture::start("fork");
    let hung = Fixture::start("hang").until_stuck();
    let run = roam_trace(&["list"]);
    assert_eq!(run.status, 0);
    // Without the pid, and without the program and its arguments.
    let line = |pid: &str| {
        let mut lines = run.stdout.lines();
        let line = lines.find(|line| line.split_whitespace().next() == Some(pid))?;
        let words = line.split_ascii_whitespace().skip(1);
        let words: Vec<_> = words.take_while(|word| !word.starts_with('/')).collect();
        Some(words.join(" "))
    };
    let heading =
        "NAME STUCK OLDEST WAIT OUTGOING INCOMING CHANNELS CONNECTIONS PARENT HOW COMMAND";
    assert_eq!(line("PID").unwrap(), heading);
    let of_hung = line(&hung.pid()).unwrap();
    assert!(of_hung.starts_with("fixture 2 "), "{of_hung}");
    assert!(of_hung.contains(" 1 1 1 1 "), "{of_hung}");
    let parent = format!("[{}] registry; probes with -d", std::process::id());
    assert!(of_hung.ends_with(&parent), "{of_hung}");
    let of_idle = line(&idle.pid()).unwrap();
    assert!(of_idle.starts_with("fixture - - - - - - "), "{of_idle}");
    assert!(
        of_idle.ends_with("probes with -d; it has no registry yet"),
        "{of_idle}"
    );
    assert!(line(&forked.pid()).is_some());
    assert_eq!(line(&forked.answer), None);
    let place = |pid: String| run.stdout.find(&format!(" {pid} "));
    assert!(place(hung.pid()) < place(idle.pid()), "{}", run.stdout);
}

/// What doctor says of a process, without what it says of the machine.
fn doctor(pid: &str) -> String {
    let run = roam_trace(&["doctor", "-p", pid]);
    let executable = std::env::current_exe().unwrap();
    run.stdout
        .lines()
        .filter(|line| {
            ["process", "registry", "probes", "SIGUSR1"]
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
