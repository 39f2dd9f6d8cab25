//! Why a call that the process makes is stuck.

use std::mem::discriminant;

use roam_trace_common::event::{Mark, Phase, RequestKind};

use super::request::{
    self, Rule, StuckRequest, contradiction, made_calls, own_runtime_blocked, process_not_alive,
};
use crate::analysis::basis::WaitBasis;
use crate::analysis::call::{Match, OtherEnd};
use crate::analysis::context::SharedCause;
use crate::analysis::driver::DriverStall;
use crate::analysis::evidence;
use crate::analysis::finding::{Finding, Wait, WaitTarget};
use crate::analysis::reason::{CallReason, DriverActivity, Heard, HeldUp, Queue, Reason};
use crate::model::{Confidence, Evidence, ProcessState, Relation, Request};

/// In this order.
pub(super) const RULES: [Rule; 18] = [
    process_not_alive,
    response_not_read,
    in_ring,
    peer_not_alive,
    driver_stalled_before_sending,
    runtime_blocked,
    not_sent,
    no_answer,
    handler_not_started,
    handler_running,
    response_not_sent,
    own_driver_stalled,
    peer_driver_stalled,
    peer_runtime_blocked,
    contradiction,
    not_in_ring,
    no_row_at_peer,
    unanswered,
];

fn found(
    stuck: &StuckRequest<'_>,
    reason: CallReason,
    evidence: impl IntoIterator<Item = Evidence>,
) -> Finding {
    stuck.analysis.found(Reason::Call(reason), evidence)
}

fn response_not_read(stuck: &StuckRequest<'_>) -> Option<Finding> {
    (stuck.request.phase == Phase::Responded).then_some(())?;
    if let Some(finding) = own_runtime_blocked(stuck) {
        return Some(finding);
    }
    let threads = evidence::threads(stuck.analysis.index, stuck.row.process);
    let reason = CallReason::ResponseNotRead {
        age_us: stuck.request.phase_age_us,
    };
    Some(found(stuck, reason, threads))
}

/// Whether the driver of the link does not report what it writes.
fn is_unobserved(stuck: &StuckRequest<'_>) -> bool {
    stuck.request.phase == Phase::HandedOver && !stuck.request.writes_observable
}

/// The request or its response is in a ring of a shared-memory hub, and its reader does not read it.
fn in_ring(stuck: &StuckRequest<'_>) -> Option<Finding> {
    is_unobserved(stuck).then_some(())?;
    let analysis = stuck.analysis;
    let pid = analysis.index.pid(stuck.row.process);
    let stall = analysis.in_rings.get(pid, stuck.request)?;
    let evidence = Evidence::InRing {
        peer: stall.peer,
        direction: stall.direction,
        messages: stall.messages,
        reader: stall.reader,
    };
    let finding = found(stuck, CallReason::InRing(stall), [evidence]);
    Some(match stall.reader {
        Some(reader) => {
            let target = WaitTarget::Process(reader);
            finding.waiting_for(Wait::known(target, WaitBasis::Ring))
        }
        None => finding,
    })
}

fn peer_not_alive(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let peer = stuck.link_state.peer?;
    let state = stuck.link_state.peer_state;
    let held_by = match state {
        ProcessState::Alive => return None,
        ProcessState::Stopped => None,
        ProcessState::Dead => peer.held_by,
    };
    let pid = peer.pid;
    let cause = || {
        let reason = Reason::PeerNotAlive {
            pid,
            state,
            held_by,
            is_likely: peer.is_likely(),
        };
        let evidence = evidence::process(stuck.analysis.index, pid, held_by);
        (reason, evidence.into_iter().collect())
    };
    let finding = stuck
        .analysis
        .found_for_link(stuck.link, SharedCause::PeerNotAlive, cause);
    Some(finding.waiting_for(peer.wait()))
}

fn driver_stalled_before_sending(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let stall = stuck.link_state.stall.filter(|_| stuck.is_unsent())?;
    Some(behind_own_driver(stuck, stall, HeldUp::Request))
}

fn behind_own_driver(stuck: &StuckRequest<'_>, stall: DriverStall, held_up: HeldUp) -> Finding {
    let cause = || {
        let evidence = stuck.analysis.stall_evidence(stuck.link, stall);
        (Reason::DriverStalled { stall, held_up }, evidence)
    };
    let wait = Wait::known(WaitTarget::Driver(stuck.link), WaitBasis::OwnConnection);
    stuck
        .analysis
        .found_for_link(stuck.link, SharedCause::DriverStalled(held_up), cause)
        .waiting_for(wait)
}

/// A handler that is seen to run in another process has not answered yet, whatever this process could do with it.
fn runtime_blocked(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let is_served = stuck
        .callee()
        .is_some_and(|(_, callee)| callee.phase != Phase::Responding);
    (!is_served).then(|| own_runtime_blocked(stuck))?
}

fn not_sent(stuck: &StuckRequest<'_>) -> Option<Finding> {
    stuck.is_unsent().then_some(())?;
    let queue = match stuck.request.phase {
        Phase::Queued => Queue::Full,
        _ => Queue::Entered,
    };
    let cause = || {
        let index = stuck.analysis.index;
        let connection = index.connection(stuck.link);
        let driver = connection.and_then(|connection| connection.driver);
        let driver = driver.map(|driver| DriverActivity {
            queue_length: driver.enqueued.saturating_sub(driver.dequeued),
            polled_age_us: driver.polled_age_us,
        });
        let evidence = evidence::driver(index, stuck.link);
        let reason = CallReason::NotSent { queue, driver };
        (Reason::Call(reason), evidence.into_iter().collect())
    };
    let shared = SharedCause::NotSent(queue);
    Some(stuck.analysis.found_for_link(stuck.link, shared, cause))
}

/// The callee's row, in that phase.
fn callee_in<'a>(stuck: &'a StuckRequest<'_>, phase: Phase) -> Option<(&'a Match, &'a Request)> {
    stuck.callee().filter(|(_, callee)| callee.phase == phase)
}

fn no_answer(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let (pair, callee) = stuck.callee()?;
    (callee.mark == Some(Mark::EndedWithoutAnswer)).then_some(())?;
    let reason = CallReason::NoAnswer {
        process: pair.row.process,
    };
    let evidence = [stuck.evidence_of(Relation::Callee, pair.row)];
    Some(found(stuck, reason, evidence).waiting_for(pair.wait()))
}

fn handler_not_started(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let (pair, callee) = callee_in(stuck, Phase::Received)?;
    let process = pair.row.process;
    let mut evidence = vec![stuck.evidence_of(Relation::Callee, pair.row)];
    evidence.extend(evidence::threads(stuck.analysis.index, process));
    let reason = CallReason::NotStarted {
        process,
        age_us: callee.phase_age_us,
    };
    Some(found(stuck, reason, evidence).waiting_for(pair.wait()))
}

fn handler_running(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let (pair, callee) = callee_in(stuck, Phase::Running)?;
    let (calls, more) = made_calls(stuck.analysis, pair.row);
    let mut evidence = vec![stuck.evidence_of(Relation::Callee, pair.row)];
    evidence.extend(more);
    let reason = CallReason::Running {
        process: pair.row.process,
        age_us: callee.phase_age_us,
        calls,
    };
    Some(found(stuck, reason, evidence).waiting_for(pair.wait()))
}

fn response_not_sent(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let (pair, callee) = callee_in(stuck, Phase::Responding)?;
    let (analysis, index) = (stuck.analysis, stuck.analysis.index);
    let link = index.link(index.endpoint(pair.row));
    let stall = analysis.link_state(link).stall;
    let mut evidence = vec![stuck.evidence_of(Relation::Callee, pair.row)];
    if let Some(stall) = stall {
        evidence.extend(analysis.stall_evidence(link, stall).iter().cloned());
    }
    let reason = CallReason::NotResponded {
        process: pair.row.process,
        age_us: callee.phase_age_us,
        stall,
    };
    Some(found(stuck, reason, evidence).waiting_for(pair.wait()))
}

/// The callee has no row: its response may be between two drivers, and the own one does not take it.
fn own_driver_stalled(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let stall = stuck.link_state.stall?;
    Some(behind_own_driver(stuck, stall, HeldUp::Response))
}

/// Bytes from the peer that the own driver has not read. What the peer did is not known before.
fn unread_bytes(stuck: &StuckRequest<'_>) -> Option<Heard> {
    let (socket, confidence) = stuck.analysis.calls.pairs().socket(stuck.link)?;
    (socket.unread_bytes > 0).then_some(Heard::Unread {
        bytes: socket.unread_bytes,
        is_likely: confidence == Confidence::Medium,
    })
}

/// The callee has no row: the request is between two drivers, and the peer's cannot take it.
fn peer_driver_stalled(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let OtherEnd::Missing(there) = stuck.other else {
        return None;
    };
    let analysis = stuck.analysis;
    let partner = analysis.calls.pairs().partner(stuck.link)?;
    let stall = analysis.link_state(there).stall?;
    let held_up = HeldUp::Unread {
        process: there.process,
    };
    let cause = || {
        let evidence = analysis.stall_evidence(there, stall);
        (Reason::DriverStalled { stall, held_up }, evidence)
    };
    let wait = Wait {
        target: WaitTarget::Driver(there),
        confidence: partner.confidence,
        basis: WaitBasis::Pairing(partner.basis),
    };
    let finding = analysis.found_for_link(stuck.link, SharedCause::DriverStalled(held_up), cause);
    Some(finding.waiting_for(wait))
}

/// Which of its links is the other end may be open, and the process that has it known nevertheless.
fn peer_runtime_blocked(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let (process, confidence) = stuck.analysis.peers.traced_process(stuck.link)?;
    let wait = Wait {
        target: WaitTarget::Process(stuck.analysis.index.pid(process)),
        confidence,
        basis: WaitBasis::ProcessState,
    };
    Some(request::runtime_blocked(stuck, process)?.waiting_for(wait))
}

/// No message of the request is in shared memory, and nobody there has received it: the driver of the process keeps it.
fn not_in_ring(stuck: &StuckRequest<'_>) -> Option<Finding> {
    is_unobserved(stuck).then_some(())?;
    let (index, in_rings) = (stuck.analysis.index, &stuck.analysis.in_rings);
    let pid = index.pid(stuck.row.process);
    let has_not_received = |&user: &u32| {
        let mut processes = (0..).zip(index.snapshots);
        let process = processes.find(|(_, snapshot)| snapshot.process.pid == user);
        process.is_some_and(|(process, _)| index.has_all_requests(process))
            && !in_rings.is_received(user, stuck.request)
    };
    let is_nowhere = in_rings.users_beside(pid)?.iter().all(has_not_received);
    is_nowhere.then_some(())?;
    let reason = match in_rings.has_no_slot(pid) {
        true => CallReason::NoSlot,
        false => CallReason::NotInRing,
    };
    Some(found(stuck, reason, []).unconfirmed())
}

fn no_row_at_peer(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let OtherEnd::Missing(there) = stuck.other else {
        return None;
    };
    (stuck.request.kind == RequestKind::Call && unread_bytes(stuck).is_none()).then_some(())?;
    let index = stuck.analysis.index;
    let process = there.process;
    if !index.has_all_requests(process) {
        let reason = CallReason::RowsIncomplete { process };
        return Some(found(stuck, reason, []));
    }
    let evidence = evidence::driver(index, there);
    let reason = CallReason::NoRow { process };
    Some(found(stuck, reason, evidence))
}

fn unanswered(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let index = stuck.analysis.index;
    let idle_us = index
        .connection(stuck.link)
        .and_then(|connection| connection.received)
        .filter(|received| received.messages > 0)
        .and_then(|received| received.idle_us);
    let heard = match (&stuck.other, stuck.request.phase, idle_us) {
        (OtherEnd::Ambiguous, ..) => Heard::FromOneOf,
        (_, Phase::HandedOver, _) => Heard::Unobserved,
        _ if let Some(unread) = unread_bytes(stuck) => unread,
        _ if let Some(idle_us) = idle_driver(stuck) => Heard::DriverIdle { idle_us },
        (.., None) => Heard::Never,
        (.., Some(idle_us)) if idle_us >= stuck.request.phase_age_us.min(index.stuck_us) => {
            Heard::Before { idle_us }
        }
        (.., Some(idle_us)) => Heard::Others { idle_us },
    };
    let cause = || {
        let peer = stuck.analysis.peers.identity(stuck.link);
        let evidence = match heard {
            Heard::FromOneOf | Heard::Unobserved | Heard::Unread { .. } => None,
            Heard::DriverIdle { .. } => evidence::driver(index, stuck.link),
            Heard::Never | Heard::Before { .. } | Heard::Others { .. } => {
                Some(Evidence::PeerLastSent { age_us: idle_us })
            }
        };
        let reason = Reason::Call(CallReason::Unanswered { heard, peer });
        (reason, evidence.into_iter().collect())
    };
    let which = SharedCause::Unanswered(discriminant(&heard));
    Some(stuck.analysis.found_for_link(stuck.link, which, cause))
}

/// Microseconds since the driver of the process itself ran, if it may have left a response in a socket that nobody looked
/// into: it runs neither where nothing arrives nor where its runtime is blocked.
fn idle_driver(stuck: &StuckRequest<'_>) -> Option<u64> {
    let (analysis, link) = (stuck.analysis, stuck.link);
    let socket = analysis.calls.pairs().socket(link);
    let is_socket_known = socket.is_some_and(|(_, confidence)| confidence > Confidence::Medium);
    let driver = analysis.index.connection(link)?.driver?;
    let is_idle = driver.polled_age_us >= stuck.request.phase_age_us.min(analysis.index.stuck_us);
    (is_idle && !is_socket_known).then_some(driver.polled_age_us)
}
