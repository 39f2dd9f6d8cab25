//! One function a rule. The first rule of a list that applies gives the verdict;
//! none applies to a row that is not stuck. A rule whose evidence is missing says
//! so, and none guesses.

mod channel;
mod connection;
mod incoming;
mod outgoing;
mod request;

pub(super) use channel::judge_channel;
pub(super) use connection::{judge_connection, judge_driver};

use roam_trace_common::event::Direction;

use super::context::Analysis;
use super::finding::Finding;
use super::index::RowId;
use request::StuckRequest;

/// Why a request is stuck, if it is.
pub(super) fn judge_request(analysis: &Analysis<'_>, row: RowId) -> Option<Finding> {
    let stuck = StuckRequest::new(analysis, row)?;
    let rules = match stuck.request.direction {
        Direction::Outgoing => &outgoing::RULES[..],
        Direction::Incoming => &incoming::RULES[..],
    };
    rules.iter().find_map(|rule| rule(&stuck))
}
