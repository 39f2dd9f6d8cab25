//! A peer that can do nothing any more: stopped, or dead while another process
//! keeps its end of the link open, so that the link does not close.

use anyhow::Result;
use rustix::process::Signal;

use super::stuck::{Stuck, running_in};
use crate::expect::ExpectedRequest;
use crate::host::{Cell, Host};
use crate::process::signal_cell;
use crate::service::{Behavior, MarkdownClient, method};

pub(super) async fn stop(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    let requests = call(host, cell).await?;
    signal_cell(cell.pid, Signal::STOP, 'T').await?;
    Ok(Stuck {
        requests: requests.into(),
        ..Stuck::default()
    })
}

pub(super) async fn kill(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    let [caller, _gone] = call(host, cell).await?;
    cell.leave_holder().await?;
    signal_cell(cell.pid, Signal::KILL, 'Z').await?;
    Ok(Stuck {
        requests: vec![caller],
        ..Stuck::default()
    })
}

/// A call that runs in the cell, and no other in either direction: it would be stuck too.
async fn call(host: &Host, cell: &Cell) -> Result<[ExpectedRequest; 2]> {
    cell.pause_traffic().await?;
    let client = MarkdownClient::new(cell.handle.clone());
    let call = host.issue(cell, method::CONVERT, Behavior::Stall, move |ticket| {
        client.convert(ticket, "# Title".to_owned())
    });
    let (requests, _) = running_in(cell, call).await?;
    Ok(requests)
}
