//! What the real `roam-trace` can do with which capabilities, as which user, and what it gives up.
//!
//! Needs root: it changes users, capabilities and two settings of the kernel's, which it puts back.

mod dropped;
#[path = "../fixture/mod.rs"]
#[expect(dead_code, reason = "other tests use what these do not")]
mod fixture;
mod installed;
#[path = "../run/mod.rs"]
#[expect(dead_code, reason = "other tests use what these do not")]
mod run;
mod settings;
mod table;
#[path = "../../../testing/terminal.rs"]
#[expect(dead_code, reason = "other tests use what these do not")]
mod terminal;
mod user;

/// This binary doubles as the processes that are looked at: [`fixture::Fixture`] starts it again with this
/// test alone, which does nothing otherwise.
#[test]
fn fixture_process() {
    fixture::run_if_asked();
}
