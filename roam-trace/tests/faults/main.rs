//! Faults while a real tracer watches a real load: whatever happens to the target, the tracer or the
//! machine, no probe stays attached, no zombie stays, the target works out what it would have without a
//! tracer, and the tracer's counts are those of the target's own log.
//!
//! To be run one after the other, as `cargo xtask test` does.

mod attached;
mod binary;
mod crowd;
mod death;
mod namespace;
mod pid;
mod registry;
mod seen;
mod shortage;
mod target;
mod time;
#[path = "../tracer/mod.rs"]
mod tracer;
mod tracer_ends;

use std::collections::BTreeSet;
use std::process::Command;

/// The table of what is survived has a row for every test here, and no other.
#[test]
fn every_fault_is_documented() {
    let listed = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--ignored", "--format", "terse"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let tests: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    let documentation = include_str!("../../../docs/reliability.md");
    let (_, section) = documentation.split_once("\n## Faults\n").unwrap();
    let rows: BTreeSet<&str> = section
        .split("\n## ")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(test, _)| test)
        .collect();
    assert_eq!(tests, rows);
}
