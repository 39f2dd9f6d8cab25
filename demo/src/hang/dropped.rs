//! Callers that time out and drop their futures. roam 0.6 does not notify
//! the callee, so the handlers run on.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::timeout;

use super::stuck::Stuck;
use crate::expect::Direction;
use crate::host::Host;
use crate::service::{Behavior, MarkdownClient, method};

/// Calls that are made and dropped, all at once.
const CALLS: usize = 3;
/// How long each caller waits.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    let client = MarkdownClient::new(cell.handle.clone());
    let mut callers = Vec::new();
    for _ in 0..CALLS {
        let (witness, client) = (host.witness.clone(), client.clone());
        callers.push(tokio::spawn(async move {
            let ticket = witness.ticket(Behavior::Stall);
            let call = witness.call(method::CONVERT, ticket, |ticket| {
                client.convert(ticket, "# Title".to_owned())
            });
            timeout(PATIENCE, call).await.is_err()
        }));
    }
    for caller in callers {
        if !caller.await? {
            bail!("a call that was to be dropped has ended");
        }
    }
    let mut stuck = Stuck::default();
    for _ in 0..CALLS {
        let (handler, _) = cell.stuck(Direction::Incoming, method::CONVERT).await?;
        stuck.requests.push(handler);
    }
    Ok(stuck)
}
