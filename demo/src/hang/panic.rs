//! A handler that panics. roam 0.6 sends no answer then, and the caller waits.

use anyhow::Result;

use super::stuck::{Stuck, running_in};
use crate::host::Host;
use crate::service::{Behavior, MarkdownClient, method};

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    let client = MarkdownClient::new(cell.handle.clone());
    let call = host.issue(cell, method::CONVERT, Behavior::Panic, move |ticket| {
        client.convert(ticket, "# Title".to_owned())
    });
    let (requests, _) = running_in(cell, call).await?;
    Ok(Stuck {
        requests: requests.into(),
        ..Stuck::default()
    })
}
