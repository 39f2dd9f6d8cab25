//! A handler that never answers, with both of its channels open and idle.

use anyhow::{Context, Result};

use super::stuck::{Stuck, running_in};
use crate::host::Host;
use crate::serve::TUNNEL_STALLS_AFTER;
use crate::service::{Behavior, TcpTunnelClient, method};

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    let client = TcpTunnelClient::new(cell.handle.clone());
    let (to_caller, mut echoes) = roam::channel::<Vec<u8>>();
    let (chunks, to_callee) = roam::channel::<Vec<u8>>();
    let call = host.issue(cell, method::OPEN, Behavior::Stall, move |ticket| {
        client.open(ticket, to_caller, to_callee)
    });
    for _ in 0..TUNNEL_STALLS_AFTER {
        chunks.send(&vec![0; 200]).await?;
        echoes.recv().await?.context("the tunnel was closed")?;
    }
    let (requests, channels) = running_in(cell, call).await?;
    Ok(Stuck {
        requests: requests.into(),
        channels,
        held: vec![Box::new(chunks), Box::new(echoes)],
        ..Stuck::default()
    })
}
