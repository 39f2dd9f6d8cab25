//! Two cells, each with a handler that holds the cell's lock in a call to the
//! other, whose handler needs the lock there.

use anyhow::Result;

use super::stuck::{Stuck, running_in};
use crate::control::Order;
use crate::expect::Direction;
use crate::host::Host;
use crate::service::{Behavior, ContentServiceClient, method};

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let cells = [&host.cells[0], &host.cells[1]];
    let mut stuck = Stuck::default();
    for cell in cells {
        let client = ContentServiceClient::new(cell.handle.clone());
        let call = host.issue(cell, method::COMPILE, Behavior::Lock, move |ticket| {
            client.compile(ticket, "/guide/debugging".to_owned())
        });
        let (requests, _) = running_in(cell, call).await?;
        stuck.requests.extend(requests);
    }
    // Both have their lock.
    for cell in cells {
        cell.order(&Order::Release)?;
    }
    for [caller, callee] in [cells, [cells[1], cells[0]]] {
        let (asking, _) = caller.stuck(Direction::Outgoing, method::CONVERT).await?;
        let (requests, _) = running_in(callee, asking).await?;
        stuck.requests.extend(requests);
    }
    Ok(stuck)
}
