//! Reads the registry.

use std::time::{Duration, Instant};

use roam_diagnostic::{clock, registry};
use roam_dump::decode::from_registry;
use roam_dump::model::{Channel, Connection, Process, Request, Snapshot};
use roam_dump::read::read_own;

/// How long a test waits for a row to change.
const DEADLINE: Duration = Duration::from_secs(10);

/// Everything in the registry.
pub(crate) fn snapshot() -> Snapshot {
    let process = Process::new(std::process::id(), "test");
    // There is a registry from the first record on, and a test may look before.
    registry::register_method(0, "none");
    let mut image = read_own().expect("something was recorded").unwrap();
    let snapshot = from_registry(process, &mut image, clock::now_ns());
    assert_eq!(snapshot.gaps, []);
    snapshot
}

/// The connections of that name.
pub(crate) fn connections(name: &str) -> Vec<Connection> {
    let mut rows = snapshot().connections;
    rows.retain(|row| &*row.name == name);
    rows
}

/// The one connection of that name.
#[track_caller]
pub(crate) fn connection(name: &str) -> Connection {
    match <[_; 1]>::try_from(connections(name)) {
        Ok([row]) => row,
        Err(rows) => panic!("{} connections are called {name:?}: {rows:#?}", rows.len()),
    }
}

/// The requests of the connection of that name.
pub(crate) fn requests(name: &str) -> Vec<Request> {
    let mut rows = snapshot().requests;
    rows.retain(|row| row.connection_name.as_deref() == Some(name));
    rows
}

/// The one request of the connection of that name.
#[track_caller]
pub(crate) fn request(name: &str) -> Request {
    match <[_; 1]>::try_from(requests(name)) {
        Ok([row]) => row,
        Err(rows) => panic!("{} requests on {name:?}: {rows:#?}", rows.len()),
    }
}

/// The channels of the connection of that name.
pub(crate) fn channels(name: &str) -> Vec<Channel> {
    let mut rows = snapshot().channels;
    rows.retain(|row| row.connection_name.as_deref() == Some(name));
    rows
}

/// The one channel of the connection of that name.
#[track_caller]
pub(crate) fn channel(name: &str) -> Channel {
    match <[_; 1]>::try_from(channels(name)) {
        Ok([row]) => row,
        Err(rows) => panic!("{} channels on {name:?}: {rows:#?}", rows.len()),
    }
}

/// Waits until `found` finds something. `what` says what that would be.
pub(crate) async fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(result) = found() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what}: never happened");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until something is so.
pub(crate) async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(())).await;
}
