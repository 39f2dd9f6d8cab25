//! A link that its caller closes while a handler runs: roam 0.6 does not notify
//! the handler, which runs on.

use anyhow::Result;

use super::stuck::Stuck;
use crate::expect::Direction;
use crate::host::Host;
use crate::service::{Behavior, MarkdownClient, method};

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    let (handle, driver) = cell.take_second_link()?;
    let client = MarkdownClient::new(handle);
    let witness = host.witness.clone();
    let caller = tokio::spawn(async move {
        let ticket = witness.ticket(Behavior::Stall);
        let call = witness.call(method::CONVERT, ticket, |ticket| {
            client.convert(ticket, "# Title".to_owned())
        });
        call.await.is_err()
    });
    let (handler, _) = cell.stuck(Direction::Incoming, method::CONVERT).await?;
    driver.abort();
    anyhow::ensure!(caller.await?, "a call over a closed link was answered");
    Ok(Stuck {
        requests: vec![handler],
        ..Stuck::default()
    })
}
