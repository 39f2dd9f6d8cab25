//! Why a connection or the driver of a link is stuck.

use roam_trace_common::event::{ConnectionState, Direction};

use crate::analysis::basis::WaitBasis;
use crate::analysis::context::{Analysis, LinkState, SharedCause};
use crate::analysis::driver::DriverStall;
use crate::analysis::evidence;
use crate::analysis::finding::{Finding, Wait, WaitTarget};
use crate::analysis::health::LostLink;
use crate::analysis::index::Endpoint;
use crate::analysis::reason::{HeldUp, Reason};
use crate::model::{Connection, Evidence, ProcessState};

/// Why the driver of a link is stuck, if it is, and what it waits for.
pub(in crate::analysis) fn judge_driver(
    analysis: &Analysis<'_>,
    link: Endpoint,
) -> Option<Finding> {
    let stall = analysis.link_state(link).stall?;
    let held_up = HeldUp::Link;
    let which = SharedCause::DriverStalled(held_up);
    let finding = analysis.found_for_link(link, which, || {
        let evidence = analysis.stall_evidence(link, stall);
        (Reason::DriverStalled { stall, held_up }, evidence)
    });
    let finding = finding.since(stall.since_us());
    Some(match waits_for(analysis, link, stall) {
        Some(wait) => finding.waiting_for(wait),
        None => finding,
    })
}

fn waits_for(analysis: &Analysis<'_>, link: Endpoint, stall: DriverStall) -> Option<Wait> {
    let index = analysis.index;
    match stall {
        DriverStall::Delivering { reader, .. } => {
            // Of a call that this process makes it is not known which handler is to read its channel.
            let reader = reader.request();
            let row = reader.filter(|&row| index.request(row).direction == Direction::Incoming)?;
            let target = WaitTarget::Request(row);
            Some(Wait::known(target, WaitBasis::ChannelOwner))
        }
        DriverStall::Writing { .. } => waits_for_reader(analysis, link),
        DriverStall::NotPolled { .. } => {
            let target = WaitTarget::Process(index.pid(link.process));
            let is_whole_process = analysis.state(link.process) != ProcessState::Alive
                || analysis.health.blocked(link.process).is_some();
            is_whole_process.then(|| Wait::known(target, WaitBasis::OwnProcess))
        }
    }
}

/// What keeps the peer from reading what a driver writes.
fn waits_for_reader(analysis: &Analysis<'_>, link: Endpoint) -> Option<Wait> {
    let index = analysis.index;
    if let Some(partner) = analysis.calls.pairs().partner(link) {
        let there = partner.link;
        let target = if analysis.state(there.process) != ProcessState::Alive {
            WaitTarget::Process(index.pid(there.process))
        } else {
            analysis.link_state(there).stall?;
            WaitTarget::Driver(there)
        };
        return Some(Wait {
            target,
            confidence: partner.confidence,
            basis: WaitBasis::Pairing(partner.basis),
        });
    }
    let peer = analysis.link_state(link).peer?;
    (index.state(peer.pid) != ProcessState::Alive).then(|| peer.wait())
}

/// Why a connection is stuck, if it is.
pub(in crate::analysis) fn judge_connection(
    analysis: &Analysis<'_>,
    endpoint: Endpoint,
    row: &Connection,
) -> Option<Finding> {
    let link = analysis.index.link(endpoint);
    match row.state {
        ConnectionState::Connecting
        | ConnectionState::BackingOff
        | ConnectionState::Disconnected => judge_lost_link(analysis, row),
        ConnectionState::Open if link == endpoint => {
            judge_driver(analysis, link).or_else(|| peer_not_alive(analysis, link, row))
        }
        _ => None,
    }
}

/// Why a client has no connection, if that is so.
pub(in crate::analysis) fn judge_lost_link(
    analysis: &Analysis<'_>,
    row: &Connection,
) -> Option<Finding> {
    let LostLink {
        since_us,
        no_attempt_us,
    } = LostLink::of(row, analysis.index.stuck_us)?;
    let (failed, losses) = (row.attempts, row.losses);
    let reason = Reason::NotConnected {
        since_us,
        no_attempt_us,
        attempts: failed,
        losses,
        last_error: row.last_error.clone(),
    };
    let evidence = Evidence::Attempts {
        failed,
        no_attempt_us,
        last_error: row.last_error.clone(),
        losses,
    };
    Some(analysis.found(reason, [evidence]).since(since_us))
}

fn peer_not_alive(analysis: &Analysis<'_>, link: Endpoint, row: &Connection) -> Option<Finding> {
    (row.age_us >= analysis.index.stuck_us).then_some(())?;
    let LinkState {
        peer, peer_state, ..
    } = analysis.link_state(link);
    let (peer, state) = (peer?, peer_state);
    (state != ProcessState::Alive).then_some(())?;
    let reason = Reason::PeerNotAlive {
        pid: peer.pid,
        state,
        held_by: None,
        is_likely: peer.is_likely(),
    };
    let evidence = evidence::process(analysis.index, peer.pid, peer.held_by);
    Some(analysis.found(reason, evidence))
}
