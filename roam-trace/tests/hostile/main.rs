//! Targets with malicious data: the real `roam-trace` says what it refused, prints what is
//! printable, and stays within 64 MB and two seconds.

mod elf_notes;
#[path = "../fixture/mod.rs"]
#[expect(dead_code, reason = "other tests use what these do not")]
mod fixture;
mod measured;
mod probes;
mod registries;
#[path = "../run/mod.rs"]
#[expect(dead_code, reason = "other tests use what these do not")]
mod run;

/// This binary doubles as the processes that are looked at: [`fixture::Fixture`] starts it again with this
/// test alone, which does nothing otherwise.
#[test]
fn fixture_process() {
    fixture::run_if_asked();
}
