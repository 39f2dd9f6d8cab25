//! A request that is stuck, and the rules that hold for both directions.

use roam_trace_common::event::{Direction, Phase};

use crate::analysis::basis::WaitBasis;
use crate::analysis::call::{Match, OtherEnd};
use crate::analysis::context::{Analysis, LinkState, SharedCause};
use crate::analysis::evidence;
use crate::analysis::finding::{Finding, Wait, WaitTarget};
use crate::analysis::index::{Endpoint, RowId};
use crate::analysis::peer::PeerProcess;
use crate::analysis::reason::{MadeCalls, Reason};
use crate::model::{Evidence, ProcessState, Relation, Request};

/// One request that is stuck or usual, with everything that rules ask of it.
pub(super) struct StuckRequest<'a> {
    pub(super) analysis: &'a Analysis<'a>,
    pub(super) row: RowId,
    pub(super) request: &'a Request,
    pub(super) link: Endpoint,
    pub(super) link_state: LinkState,
    pub(super) other: OtherEnd,
}

/// Finds why a request is stuck, if that is its subject.
pub(super) type Rule = fn(&StuckRequest<'_>) -> Option<Finding>;

impl<'a> StuckRequest<'a> {
    pub(super) fn new(analysis: &'a Analysis<'a>, row: RowId) -> Self {
        let index = analysis.index;
        let link = index.link(index.endpoint(row));
        Self {
            analysis,
            row,
            request: index.request(row),
            link,
            link_state: analysis.link_state(link),
            other: analysis.calls.other_end(index, row),
        }
    }

    /// Whether the request is known not to be on its way yet.
    pub(super) fn is_unsent(&self) -> bool {
        match self.request.phase {
            Phase::Queued => true,
            Phase::HandedOver => {
                self.request.writes_observable && !matches!(self.other, OtherEnd::Row(_))
            }
            _ => false,
        }
    }

    /// Whether the process of the caller is known and has no row of the request any more.
    pub(super) fn is_caller_gone(&self) -> bool {
        matches!(self.other, OtherEnd::Missing(there)
            if self.analysis.index.has_all_requests(there.process))
    }

    /// The row of the callee, for a call that the process makes.
    pub(super) fn callee(&self) -> Option<(&Match, &Request)> {
        match &self.other {
            OtherEnd::Row(callee) => Some((callee, self.analysis.index.request(callee.row))),
            _ => None,
        }
    }

    pub(super) fn evidence_of(&self, relation: Relation, row: RowId) -> Evidence {
        evidence::row(self.analysis.index, relation, row)
    }
}

impl Match {
    /// The step from a call to its callee.
    pub(super) fn wait(&self) -> Wait {
        Wait {
            target: WaitTarget::Request(self.row),
            confidence: self.confidence,
            basis: self.basis,
        }
    }
}

impl PeerProcess {
    /// The step to the process, which cannot do anything.
    pub(super) fn wait(self) -> Wait {
        Wait {
            target: WaitTarget::Process(self.pid),
            confidence: self.confidence,
            basis: match self.is_likely() {
                true => WaitBasis::LikelyPeer,
                false => WaitBasis::ProcessState,
            },
        }
    }
}

pub(super) fn process_not_alive(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let state = stuck.analysis.state(stuck.row.process);
    (state != ProcessState::Alive).then_some(())?;
    let pid = stuck.analysis.index.pid(stuck.row.process);
    let evidence = evidence::process(stuck.analysis.index, pid, None);
    let wait = Wait::known(WaitTarget::Process(pid), WaitBasis::OwnProcess);
    let reason = Reason::ProcessNotAlive { pid, state };
    Some(stuck.analysis.found(reason, evidence).waiting_for(wait))
}

/// Nothing moves on any link of the process, so the other end is not to blame.
pub(super) fn own_runtime_blocked(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let process = stuck.row.process;
    let wait = Wait::known(
        WaitTarget::Process(stuck.analysis.index.pid(process)),
        WaitBasis::OwnProcess,
    );
    Some(runtime_blocked(stuck, process)?.waiting_for(wait))
}

/// That no driver of a process runs, where that is so.
pub(super) fn runtime_blocked(stuck: &StuckRequest<'_>, process: u32) -> Option<Finding> {
    let analysis = stuck.analysis;
    let blocked = analysis.health.blocked(process)?;
    let which = SharedCause::RuntimeBlocked(process);
    Some(analysis.found_for_link(stuck.link, which, || {
        let evidence = evidence::runtime_blocked(analysis.index, process, blocked);
        let reason = Reason::RuntimeBlocked { process, blocked };
        (reason, evidence.into())
    }))
}

pub(super) fn contradiction(stuck: &StuckRequest<'_>) -> Option<Finding> {
    let OtherEnd::Contradiction { row, why } = stuck.other else {
        return None;
    };
    let relation = match stuck.request.direction {
        Direction::Outgoing => Relation::Callee,
        Direction::Incoming => Relation::Caller,
    };
    let reason = Reason::Contradiction {
        processes: [stuck.row.process, row.process],
        why,
    };
    let evidence = stuck.evidence_of(relation, row);
    Some(stuck.analysis.found(reason, [evidence]))
}

/// The stuck calls that a handler made, and the evidence for them, or for calls whose handler is not known.
pub(super) fn made_calls(
    analysis: &Analysis<'_>,
    handler: RowId,
) -> (Option<MadeCalls>, Option<Evidence>) {
    let (index, standings) = (analysis.index, analysis.standings);
    match standings.children(handler) {
        [] => {
            let calls = standings.parentless(handler.process);
            let pid = index.pid(handler.process);
            let unknown = (calls > 0).then_some(Evidence::ParentUnknown { pid, calls });
            (None, unknown)
        }
        &[first, ref more @ ..] => {
            let calls = MadeCalls {
                first,
                more: more.len(),
            };
            let evidence = evidence::row(index, Relation::MadeCall, first);
            (Some(calls), Some(evidence))
        }
    }
}
