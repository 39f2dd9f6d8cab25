//! Why a call that the process serves is stuck.

use roam_trace_common::event::{ConnectionState, Mark, Phase};

use super::request::{
    Rule, StuckRequest, contradiction, made_calls, own_runtime_blocked, process_not_alive,
};
use crate::analysis::basis::WaitBasis;
use crate::analysis::call::OtherEnd;
use crate::analysis::context::SharedCause;
use crate::analysis::driver::DriverStall;
use crate::analysis::evidence;
use crate::analysis::finding::{Finding, Wait, WaitTarget};
use crate::analysis::reason::{HandlerReason, HeldUp, Reason};
use crate::model::{Connection, Evidence, Relation};

/// In this order.
pub(super) const RULES: [Rule; 11] = [
    no_answer,
    connection_closed,
    process_not_alive,
    cancelled,
    caller_gone,
    runtime_blocked,
    not_started,
    not_responded,
    contradiction,
    items_not_read,
    running,
];

fn found(
    stuck: &StuckRequest<'_>,
    reason: HandlerReason,
    evidence: impl IntoIterator<Item = Evidence>,
) -> Finding {
    stuck.analysis.found(Reason::Handler(reason), evidence)
}

fn no_answer(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let evidence = has_mark(stuck, Mark::EndedWithoutAnswer)?;
    let is_awaited = !stuck.is_caller_gone();
    Some(found(stuck, HandlerReason::NoAnswer, [evidence]).awaited(is_awaited))
}

/// The evidence that a request has a mark, if it has.
fn has_mark(stuck: &StuckRequest<'_>, mark: Mark) -> Option<Evidence> {
    (stuck.request.mark == Some(mark)).then_some(Evidence::Mark { mark })
}

fn connection_closed(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let index = stuck.analysis.index;
    let &Connection {
        serial,
        state,
        state_age_us,
        ..
    } = index.connection(index.endpoint(stuck.row))?;
    (state == ConnectionState::Closed).then_some(())?;
    let reason = HandlerReason::ConnectionClosed {
        age_us: state_age_us,
    };
    let evidence = Evidence::Connection {
        pid: index.pid(stuck.row.process),
        serial,
        state,
        state_age_us,
    };
    Some(found(stuck, reason, [evidence]).awaited(false))
}

fn cancelled(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let evidence = has_mark(stuck, Mark::Orphaned)?;
    Some(found(stuck, HandlerReason::Cancelled, [evidence]).awaited(false))
}

fn caller_gone(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let OtherEnd::Missing(there) = stuck.other else {
        return None;
    };
    let is_started = stuck.request.phase == Phase::Running;
    (is_started && stuck.is_caller_gone()).then_some(())?;
    let partner = stuck.analysis.calls.pairs().partner(stuck.link);
    let reason = HandlerReason::CallerGone {
        process: there.process,
        pairing: partner.map(|partner| partner.basis),
    };
    let index = stuck.analysis.index;
    let evidence = Evidence::NoRow {
        relation: Relation::Caller,
        pid: index.pid(there.process),
        link: there.serial,
        read_after_us: index.read_after_us(stuck.row, there.process).max(0) as u64,
    };
    Some(found(stuck, reason, [evidence]).awaited(false))
}

/// What the handler waits for is known where it is a call.
fn runtime_blocked(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let is_in_call = !stuck.analysis.standings.children(stuck.row).is_empty();
    (!is_in_call).then(|| own_runtime_blocked(stuck))?
}

fn not_started(stuck: &StuckRequest<'_>) -> Option<Finding> {
    (stuck.request.phase == Phase::Received).then_some(())?;
    let index = stuck.analysis.index;
    let driver = evidence::driver(index, stuck.link);
    let threads = evidence::threads(index, stuck.row.process);
    let evidence = driver.into_iter().chain(threads);
    Some(found(stuck, HandlerReason::NotStarted, evidence))
}

fn not_responded(stuck: &StuckRequest<'_>) -> Option<Finding> {
    (stuck.request.phase == Phase::Responding).then_some(())?;
    let (analysis, link) = (stuck.analysis, stuck.link);
    let stall = stuck.link_state.stall;
    let reason = HandlerReason::NotResponded {
        age_us: stuck.request.phase_age_us,
        stall,
    };
    let Some(stall) = stall else {
        let evidence = evidence::driver(analysis.index, link);
        return Some(found(stuck, reason, evidence));
    };
    let wait = Wait::known(WaitTarget::Driver(link), WaitBasis::OwnConnection);
    let evidence = analysis.stall_evidence(link, stall);
    let finding = analysis.found_with(Reason::Handler(reason), evidence);
    Some(finding.waiting_for(wait))
}

/// The caller's driver waits for room in a channel that the handler sends on.
fn items_not_read(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let OtherEnd::Row(caller) = &stuck.other else {
        return None;
    };
    let (analysis, index) = (stuck.analysis, stuck.analysis.index);
    let there = index.link(index.endpoint(caller.row));
    let stall = analysis.link_state(there).stall?;
    let is_own = matches!(stall, DriverStall::Delivering { reader, .. }
        if reader.request() == Some(caller.row));
    (is_own && analysis.standings.children(stuck.row).is_empty()).then_some(())?;
    let reason = Reason::DriverStalled {
        stall,
        held_up: HeldUp::Items {
            process: there.process,
        },
    };
    let evidence = analysis.stall_evidence(there, stall);
    let wait = Wait {
        target: WaitTarget::Driver(there),
        confidence: caller.confidence,
        basis: caller.basis,
    };
    Some(analysis.found_with(reason, evidence).waiting_for(wait))
}

fn running(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let analysis = stuck.analysis;
    let (calls, evidence) = made_calls(analysis, stuck.row);
    let Some(calls) = calls else {
        let cause = || {
            let reason = HandlerReason::Running {
                parentless_calls: analysis.standings.parentless(stuck.row.process),
            };
            (Reason::Handler(reason), evidence.into_iter().collect())
        };
        return Some(analysis.found_for_link(stuck.link, SharedCause::Running, cause));
    };
    let mut finding = found(stuck, HandlerReason::InCalls(calls), evidence);
    for &child in analysis.standings.children(stuck.row) {
        let wait = Wait::known(WaitTarget::Request(child), WaitBasis::RecordedParent);
        finding = finding.waiting_for(wait);
    }
    Some(finding)
}
