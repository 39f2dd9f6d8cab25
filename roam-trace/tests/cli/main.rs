//! Runs the real `roam-trace` on real processes, without root unless a test says so.

mod bad_input;
mod completion;
mod dump;
#[path = "../fixture/mod.rs"]
mod fixture;
mod follow;
mod help;
mod machine;
mod pager;
mod probes_only;
#[path = "../run/mod.rs"]
mod run;
mod schema;
mod shm;
mod sockets;
mod stats;
#[path = "../../../testing/terminal.rs"]
mod terminal;
mod top;
#[path = "../../../testing/verdicts.rs"]
mod verdicts;
mod watch;

/// This binary doubles as the processes that are looked at: [`fixture::Fixture`] starts it again with this
/// test alone, which does nothing otherwise.
#[test]
fn fixture_process() {
    fixture::run_if_asked();
}
