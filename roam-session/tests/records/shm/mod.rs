//! What is recorded on roam-shm, whose driver knows nothing of rows: it takes our
//! messages apart and has our handles, registries and dispatch helpers to work with.

mod channels;
mod connections;
mod hub;
mod incoming;
mod outgoing;

use roam_diagnostic::registry::{ConnectionState, Direction, Phase};
use roam_dump::model::Connection;

use crate::rows::{requests, wait_until};

/// Waits until the handler of a request that came over the connection runs.
async fn wait_for_handler(name: &str) {
    wait_until(&format!("a handler runs on {name}"), || {
        let rows = requests(name);
        rows.iter()
            .any(|row| (row.direction, row.phase) == (Direction::Incoming, Phase::Running))
    })
    .await;
}

async fn wait_for_none(name: &str) {
    wait_until(&format!("no request on {name}"), || {
        requests(name).is_empty()
    })
    .await;
}

/// Whether the row is a state's, which lives as long as somebody has the state.
fn is_grouping(row: &Connection) -> bool {
    row.state == ConnectionState::Grouping
}
