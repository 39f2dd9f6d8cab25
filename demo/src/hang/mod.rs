//! Ways to get stuck. Each starts its calls, waits until every one is where it
//! stays, and says what a truthful dump shows then.

mod chain;
mod deadlock;
mod dropped;
mod forward;
mod handler;
mod orphan;
mod panic;
mod peer;
mod reader;
mod starved;
mod unread;

use std::any::Any;

use anyhow::Result;

use crate::cli::HangKind;
use crate::expect::{Direction, ExpectedChannel, ExpectedDelivery, ExpectedRequest};
use crate::host::{Cell, Host};

/// What is stuck.
#[derive(Default)]
pub(crate) struct Stuck {
    pub(crate) requests: Vec<ExpectedRequest>,
    pub(crate) channels: Vec<ExpectedChannel>,
    pub(crate) delivering: Vec<ExpectedDelivery>,
    /// Ends of channels that must stay open.
    pub(crate) held: Vec<Box<dyn Any + Send>>,
}

/// Gets stuck in that way.
pub(crate) async fn start(kind: HangKind, host: &Host) -> Result<Stuck> {
    match kind {
        HangKind::Handler => handler::start(host).await,
        HangKind::Chain => chain::start(host).await,
        HangKind::Reader => reader::start(host).await,
        HangKind::Dropped => dropped::start(host).await,
        HangKind::Forward => forward::start(host).await,
        HangKind::Starved => starved::start(host).await,
        HangKind::Panic => panic::start(host).await,
        HangKind::Orphan => orphan::start(host).await,
        HangKind::PeerStopped => peer::stop(host).await,
        HangKind::PeerDead => peer::kill(host).await,
        HangKind::Deadlock => deadlock::start(host).await,
        HangKind::Unread => unread::start(host).await,
    }
}

/// Waits until a call of the host runs in a cell, and gives both of its rows and both ends of
/// its channels.
///
/// Both rows of a call have the same id, which only the callee can know.
async fn running_in(
    cell: &Cell,
    mut caller: ExpectedRequest,
) -> Result<([ExpectedRequest; 2], Vec<ExpectedChannel>)> {
    let (callee, channels) = cell.stuck(Direction::Incoming, &caller.method).await?;
    caller.request_id = callee.request_id;
    let here = channels
        .iter()
        .map(|channel| channel.at_other_end(caller.pid, &cell.name));
    let channels = here.chain(channels.iter().cloned()).collect();
    Ok(([caller, callee], channels))
}
