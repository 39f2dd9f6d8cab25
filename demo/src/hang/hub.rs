//! Messages that stay in a shared-memory hub: their reader was not woken, is dead, reads nothing, or is stopped.

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use roam_shm::ShmDiagnostics;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::stuck::Stuck;
use crate::control::Order;
use crate::expect::{Direction, ExpectedRequest};
use crate::host::{Cell, Host};
use crate::hub::{DEADLINE, POLL};
use crate::process::signal_cell;
use crate::service::{Behavior, MarkdownClient, method};

/// Calls that stay in the ring.
const CALLS: u32 = 3;
/// Calls that need more slots than a host has.
const MANY_CALLS: u32 = 20;
/// What does not fit into a message, and takes a slot.
const LARGE: usize = 200;

/// A signal of the doorbell is swallowed, as a lost one would be.
pub(super) async fn lose_signal(host: &Host) -> Result<Stuck> {
    let cell = paused_cell(host).await?;
    signal_cell(cell.pid, Signal::STOP, 'T').await?;
    let requests = call(host, cell, 1).await?;
    swallow_signals(cell).await?;
    signal_cell(cell.pid, Signal::CONT, 'S').await?;
    Ok(stuck(requests))
}

pub(super) async fn kill(host: &Host) -> Result<Stuck> {
    let cell = paused_cell(host).await?;
    signal_cell(cell.pid, Signal::STOP, 'T').await?;
    let requests = call(host, cell, CALLS).await?;
    host.allow_end(cell);
    signal_cell(cell.pid, Signal::KILL, 'Z').await?;
    Ok(stuck(requests))
}

pub(super) async fn exhaust(host: &Host) -> Result<Stuck> {
    for cell in &host.cells {
        cell.pause_traffic().await?;
    }
    let cell = &host.cells[0];
    cell.order(&Order::BlockWorkers)?;
    let (queued, _) = cell.stuck(Direction::Outgoing, method::RESOLVE).await?;
    let mut requests = issue(host, cell, MANY_CALLS);
    let is_exhausted = |hub: &ShmDiagnostics| hub.host_slots.free_slots == 0;
    wait(host, "the host has slots left", is_exhausted).await?;
    requests.push(queued);
    Ok(stuck(requests))
}

pub(super) async fn stop(host: &Host) -> Result<Stuck> {
    let cell = paused_cell(host).await?;
    signal_cell(cell.pid, Signal::STOP, 'T').await?;
    let requests = call(host, cell, CALLS).await?;
    Ok(stuck(requests))
}

fn stuck(requests: Vec<ExpectedRequest>) -> Stuck {
    Stuck {
        requests,
        ..Stuck::default()
    }
}

/// Cell 1, without a background call in either direction: any message would wake it.
async fn paused_cell(host: &Host) -> Result<&Cell> {
    let cell = &host.cells[0];
    cell.pause_traffic().await?;
    Ok(cell)
}

/// Makes calls, and waits until they are in the ring to the cell.
async fn call(host: &Host, cell: &Cell, calls: u32) -> Result<Vec<ExpectedRequest>> {
    let requests = issue(host, cell, calls);
    let peer = cell.peer.context("the cell is not attached to a hub")?;
    let is_written = |hub: &ShmDiagnostics| {
        let mut peers = hub.peer_slots.iter();
        peers.any(|found| found.peer_id == peer && found.host_to_guest_ring.used == calls)
    };
    wait(host, "the calls are not in the ring", is_written).await?;
    Ok(requests)
}

fn issue(host: &Host, cell: &Cell, calls: u32) -> Vec<ExpectedRequest> {
    let issue = |_| {
        let client = MarkdownClient::new(cell.handle.clone());
        host.issue(cell, method::CONVERT, Behavior::Stall, move |ticket| {
            client.convert(ticket, "#".repeat(LARGE))
        })
    };
    (0..calls).map(issue).collect()
}

async fn wait(
    host: &Host,
    otherwise: &str,
    is_reached: impl Fn(&ShmDiagnostics) -> bool,
) -> Result<()> {
    let hub = host.hub.as_ref().context("there is no hub")?;
    hub.wait_until(otherwise, is_reached).await
}

/// Takes every signal out of the cell's end of the doorbell, which is stopped: a message is written before its signal.
async fn swallow_signals(cell: &Cell) -> Result<()> {
    let ticket = cell.ticket.as_ref().context("the ticket is gone")?;
    let doorbell = ticket.doorbell_handle().as_raw_fd();
    let deadline = Instant::now() + DEADLINE;
    let mut swallowed = 0;
    loop {
        match recv(doorbell, &mut [0; 64], MsgFlags::MSG_DONTWAIT) {
            Ok(_) => swallowed += 1,
            Err(Errno::EAGAIN) if swallowed > 0 => return Ok(()),
            Err(Errno::EAGAIN) => {
                ensure!(Instant::now() < deadline, "no signal is in the doorbell");
                sleep(POLL).await;
            }
            Err(error) => return Err(error).context("cannot read the doorbell"),
        }
    }
}
