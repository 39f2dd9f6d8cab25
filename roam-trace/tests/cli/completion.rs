//! What shells complete.

use std::process::Command;

use crate::fixture::Fixture;
use crate::run::{command, run};

/// The candidates for the last word of a command line.
fn candidates(shell: &str, words: &[&str]) -> Vec<String> {
    let mut complete = command(&["--", "roam-trace"]);
    complete
        .args(words)
        .env("COMPLETE", shell)
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_IFS", "\n");
    let run = run(complete);
    assert_eq!((run.status, &*run.stderr), (0, ""), "{shell}");
    run.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn pids_of_processes_that_can_be_read() {
    let target = Fixture::start("hang");
    let without_registry = Fixture::start("idle");
    for shell in ["bash", "zsh", "fish"] {
        for words in [
            &["-p", ""][..],
            &["doctor", "--pid", ""],
            &["stats", "-p", ""],
        ] {
            let candidates = candidates(shell, words);
            let is_listed = |pid: &str| candidates.iter().any(|line| line.starts_with(pid));
            assert!(is_listed(&target.pid()), "{shell}: {candidates:?}");
            assert!(
                !is_listed(&without_registry.pid()),
                "{shell}: {candidates:?}"
            );
        }
        assert!(candidates(shell, &["--fail"])[0].starts_with("--fail-if-stuck"));
    }
}

/// The shells themselves, with what they are given to source.
#[test]
#[ignore = "needs fish and zsh"]
fn shells() {
    let target = Fixture::start("hang");
    let bash = "source <(COMPLETE=bash roam-trace); COMP_WORDS=(roam-trace -p ''); COMP_CWORD=2; \
        _clap_complete_roam_trace roam-trace '' -p; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let fish = "COMPLETE=fish roam-trace | source; complete --do-complete 'roam-trace -p '";
    // It completes in its line editor only: here the words and what shows the candidates are given.
    let zsh = "compdef() { }; _describe() { print -l -- \"${(@P)3}\" }; source <(COMPLETE=zsh roam-trace); \
        words=(roam-trace -p ''); CURRENT=3; _clap_dynamic_completer_roam_trace";
    let tool = std::path::Path::new(env!("CARGO_BIN_EXE_roam-trace"));
    let path = format!("{}:/usr/bin:/bin", tool.parent().unwrap().display());
    for (shell, script) in [
        (&["bash", "--norc", "-c"][..], bash),
        (&["fish", "--no-config", "-c"], fish),
        (&["zsh", "-f", "-c"], zsh),
    ] {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(script).env("PATH", &path);
        let run = run(command);
        let is_listed = run
            .stdout
            .lines()
            .any(|line| line.starts_with(&target.pid()));
        assert!(is_listed, "{}: {run:?}", shell[0]);
    }
}
