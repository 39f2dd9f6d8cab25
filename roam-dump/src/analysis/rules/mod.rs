//! One function a rule. The first rule of a list that applies gives the verdict;
//! none applies to a row that is not stuck. A rule whose evidence is missing says
//! so, and none guesses.

mod channel;
mod connection;
mod incoming;
mod outgoing;
mod process;
mod request;

pub(super) use channel::judge_channel;
pub(super) use connection::{judge_connection, judge_driver, judge_lost_link};
pub(super) use process::judge_process;

use roam_trace_common::event::{Direction, RequestKind};

use super::context::{Analysis, SharedCause};
use super::finding::Finding;
use super::index::RowId;
use super::reason::Reason;
use super::standing::Standing;
use crate::model::Code;
use request::StuckRequest;

/// Why a request is stuck, or what a usual one waits for.
pub(super) fn judge_request(analysis: &Analysis<'_>, row: RowId) -> Option<Finding> {
    let (measure, is_usual) = match analysis.standings.of(row) {
        Standing::Young | Standing::Ignored => return None,
        Standing::Usual(measure) => (measure, true),
        Standing::Stuck(measure) => (measure, false),
    };
    let stuck = StuckRequest::new(analysis, row);
    let rules = match stuck.request.direction {
        Direction::Outgoing => &outgoing::RULES[..],
        Direction::Incoming => &incoming::RULES[..],
    };
    let mut finding = rules.iter().find_map(|rule| rule(&stuck))?;
    if is_usual {
        finding = usual(&stuck).waiting_for_all(finding.waits_for);
    }
    // However young it is, no answer will come.
    let is_measured = stuck.request.kind == RequestKind::Call && finding.code != Code::NoAnswer;
    finding.measure = is_measured.then_some(measure);
    Some(finding)
}

fn usual(stuck: &StuckRequest<'_>) -> Finding {
    let analysis = stuck.analysis;
    analysis.found_for_link(stuck.link, SharedCause::Usual, || {
        (Reason::Usual, Vec::new().into())
    })
}
