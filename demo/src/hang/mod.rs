//! The hangs. Each starts its calls, waits until every one is in its final phase, and returns what a correct
//! dump shows then.

mod chain;
mod deadlock;
mod dropped;
mod forward;
mod handler;
mod hub;
mod orphan;
mod panic;
mod peer;
mod reader;
mod starved;
mod stuck;
mod unread;

use anyhow::Result;

use crate::cli::HangKind;
use crate::host::Host;
pub(crate) use stuck::Stuck;

/// Produces a hang.
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
        HangKind::Doorbell => hub::lose_signal(host).await,
        HangKind::Leak => hub::kill(host).await,
        HangKind::Exhausted => hub::exhaust(host).await,
        HangKind::ConsumerStopped => hub::stop(host).await,
    }
}
