//! Why a connection or the driver of a link is stuck.

use roam_trace_common::event::{ConnectionState, Direction};

use crate::analysis::basis::WaitBasis;
use crate::analysis::context::{Analysis, SharedCause};
use crate::analysis::driver::DriverStall;
use crate::analysis::evidence;
use crate::analysis::finding::{Finding, Wait, WaitTarget};
use crate::analysis::index::Endpoint;
use crate::analysis::peer::PeerIdentity;
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
            let reader =
                reader.filter(|&row| index.request(row).direction == Direction::Incoming)?;
            let target = WaitTarget::Request(reader);
            Some(Wait::known(target, WaitBasis::ChannelOwner))
        }
        DriverStall::Writing { .. } => waits_for_reader(analysis, link),
        DriverStall::NotPolled { .. } => {
            let target = WaitTarget::Process(index.pid(link.process));
            (analysis.state(link.process) != ProcessState::Alive)
                .then(|| Wait::known(target, WaitBasis::OwnProcess))
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
    match analysis.peers.identity(link) {
        PeerIdentity::Process { pid, .. } if index.state(pid) != ProcessState::Alive => Some(
            Wait::known(WaitTarget::Process(pid), WaitBasis::ProcessState),
        ),
        _ => None,
    }
}

/// Why a connection is stuck, if it is.
pub(in crate::analysis) fn judge_connection(
    analysis: &Analysis<'_>,
    endpoint: Endpoint,
    row: &Connection,
) -> Option<Finding> {
    let link = analysis.index.link(endpoint);
    match row.state {
        ConnectionState::Connecting | ConnectionState::BackingOff => not_connected(analysis, row),
        ConnectionState::Open if link == endpoint => {
            judge_driver(analysis, link).or_else(|| peer_not_alive(analysis, link, row))
        }
        _ => None,
    }
}

fn not_connected(analysis: &Analysis<'_>, row: &Connection) -> Option<Finding> {
    (row.age_us >= analysis.index.stuck_us).then_some(())?;
    let failed = row.attempts;
    let reason = Reason::NotConnected { failed };
    Some(analysis.found(reason, [Evidence::Attempts { failed }]))
}

fn peer_not_alive(analysis: &Analysis<'_>, link: Endpoint, row: &Connection) -> Option<Finding> {
    (row.age_us >= analysis.index.stuck_us).then_some(())?;
    let (pid, held_by) = analysis.peers.pid(link)?;
    let state = analysis.index.state(pid);
    (state != ProcessState::Alive).then_some(())?;
    let reason = Reason::PeerNotAlive {
        pid,
        state,
        held_by: None,
    };
    let evidence = evidence::process(analysis.index, pid, held_by);
    Some(analysis.found(reason, evidence))
}
