//! A runtime without a free worker: its driver takes nothing from the transport
//! and nothing from its queue.

use anyhow::Result;

use super::stuck::Stuck;
use crate::control::Order;
use crate::expect::Direction;
use crate::host::Host;
use crate::service::{Behavior, ContentServiceClient, method};

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    // A background call would be stuck too, without anybody expecting it.
    cell.pause_traffic().await?;
    cell.order(&Order::BlockWorkers)?;
    let (queued, _) = cell.stuck(Direction::Outgoing, method::RESOLVE).await?;
    let client = ContentServiceClient::new(cell.handle.clone());
    let never_taken = host.issue(
        cell,
        method::FIND_CONTENT,
        Behavior::Answer,
        move |ticket| client.find_content(ticket, "/guide".to_owned()),
    );
    Ok(Stuck {
        requests: vec![queued, never_taken],
        ..Stuck::default()
    })
}
