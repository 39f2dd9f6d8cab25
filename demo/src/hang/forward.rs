//! A call through a forwarding proxy, whose other end never answers.

use anyhow::Result;

use super::stuck::{Stuck, running_in};
use crate::expect::{Direction, ExpectedRequest, Phase};
use crate::host::Host;
use crate::service::{ArchiveClient, Behavior, method};

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let (proxy, backend) = (&host.cells[0], &host.cells[1]);
    let client = ArchiveClient::new(proxy.handle.clone());
    let call = host.issue(proxy, method::FETCH, Behavior::Stall, move |ticket| {
        client.fetch(ticket, "/guide/debugging@1".to_owned())
    });
    // The proxy runs no code of the demo, so both of its legs are inferred from the ends: the
    // call reached the backend, therefore the proxy took it and sent it on.
    let leg = |direction, phase, connection: &str| ExpectedRequest {
        pid: proxy.pid,
        direction,
        phase,
        connection: Some(connection.to_owned()),
        request_id: None,
        ..call.clone()
    };
    let taken = leg(Direction::Incoming, Phase::Running, "host");
    let sent_on = leg(Direction::Outgoing, Phase::Sent, &backend.name);
    let (bottom, _) = running_in(backend, sent_on).await?;
    Ok(Stuck {
        requests: [call, taken].into_iter().chain(bottom).collect(),
        ..Stuck::default()
    })
}
