//! What every hang reports, and how it learns that a call hangs.

use std::any::Any;

use anyhow::Result;

use crate::expect::{Direction, ExpectedChannel, ExpectedDelivery, ExpectedRequest};
use crate::host::Cell;

/// What is stuck.
#[derive(Default)]
pub(crate) struct Stuck {
    pub(crate) requests: Vec<ExpectedRequest>,
    pub(crate) channels: Vec<ExpectedChannel>,
    pub(crate) delivering: Vec<ExpectedDelivery>,
    /// Ends of channels that must stay open.
    pub(crate) held: Vec<Box<dyn Any + Send>>,
}

/// Waits until a call of the host runs in a cell, and gives both of its rows and both ends of
/// its channels.
///
/// Both rows of a call have the same id, which only the callee can know.
pub(super) async fn running_in(
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
