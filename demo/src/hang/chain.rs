//! The host waits for cell 1, which waits for cell 2, which never answers.

use anyhow::Result;

use super::stuck::{Stuck, running_in};
use crate::expect::Direction;
use crate::host::Host;
use crate::service::{Behavior, ContentServiceClient, method};

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let (first, second) = (&host.cells[0], &host.cells[1]);
    let client = ContentServiceClient::new(first.handle.clone());
    let call = host.issue(first, method::COMPILE, Behavior::Relay, move |ticket| {
        client.compile(ticket, "/guide/debugging".to_owned())
    });
    let (requests, _) = running_in(first, call).await?;
    let (relayed, _) = first.stuck(Direction::Outgoing, method::CONVERT).await?;
    let (bottom, _) = running_in(second, relayed).await?;
    Ok(Stuck {
        requests: requests.into_iter().chain(bottom).collect(),
        ..Stuck::default()
    })
}
