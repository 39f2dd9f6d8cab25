//! Which incoming request is which call: the two rows of one request.

use roam_trace_common::event::{Direction, Phase};

use super::basis::WaitBasis;
use super::index::{Endpoint, RowId, SnapshotIndex, TOLERANCE_US};
use super::pairing::{Pairs, Partner};
use crate::model::Confidence;

/// What was found of a request at the other end of its link.
#[derive(Debug, Clone, Copy)]
pub(super) enum OtherEnd {
    /// Its row.
    Row(Match),
    /// The other end is traced and has no such row.
    Missing(Endpoint),
    /// The other end has a row of that id, which cannot be this request's.
    Contradiction { row: RowId, why: Contradiction },
    /// Several links or rows may be the other end, or the link that was taken for it lacks the row and may be the
    /// wrong one.
    Ambiguous,
    /// No traced link is the other end.
    Untraced,
}

/// The row at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    pub(super) row: RowId,
    pub(super) confidence: Confidence,
    pub(super) basis: WaitBasis,
}

/// Why two rows of one id cannot be one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contradiction {
    OtherMethod,
    CalleeFirst,
    RespondedWhileRunning,
}

/// Finds the other end's row of a request.
pub(super) struct Calls {
    pairs: Pairs,
}

impl Calls {
    pub(super) fn new(pairs: Pairs) -> Self {
        Self { pairs }
    }

    pub(super) fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    pub(super) fn into_pairs(self) -> Pairs {
        self.pairs
    }

    /// The other end's row of a request.
    pub(super) fn other_end(&self, index: &SnapshotIndex<'_>, row: RowId) -> OtherEnd {
        let endpoint = index.endpoint(row);
        let link = index.link(endpoint);
        match self.pairs.partner(link) {
            Some(partner) => self.at_partner(index, row, endpoint, partner),
            None => self.among_candidates(index, row, endpoint, link),
        }
    }

    fn at_partner(
        &self,
        index: &SnapshotIndex<'_>,
        row: RowId,
        endpoint: Endpoint,
        partner: &Partner,
    ) -> OtherEnd {
        let shows_absence = partner.shows_absence && index.has_outlived(row, partner.link.process);
        let missing = if shows_absence {
            OtherEnd::Missing(partner.link)
        } else {
            OtherEnd::Ambiguous
        };
        let Some(there) = self.same_connection(index, endpoint, partner.link) else {
            return missing;
        };
        let mut wrong = None;
        let mut fitting = Vec::new();
        for other in rows_at(index, row, there) {
            match contradiction(index, row, other) {
                Some(why) => wrong = Some((other, why)),
                None => fitting.push(other),
            }
        }
        match (fitting.as_slice(), wrong) {
            (&[other], _) => OtherEnd::Row(Match {
                row: other,
                confidence: partner.confidence,
                basis: WaitBasis::Pairing(partner.basis),
            }),
            ([], Some((row, why))) if shows_absence => OtherEnd::Contradiction { row, why },
            ([], _) => missing,
            _ => OtherEnd::Ambiguous,
        }
    }

    /// Where the link is ambiguous the request itself may still be at one of the candidates only.
    fn among_candidates(
        &self,
        index: &SnapshotIndex<'_>,
        row: RowId,
        endpoint: Endpoint,
        link: Endpoint,
    ) -> OtherEnd {
        let candidates = self.pairs.candidates(link);
        if candidates.is_empty() {
            return OtherEnd::Untraced;
        }
        let mut fitting = candidates
            .iter()
            .filter_map(|&candidate| self.same_connection(index, endpoint, candidate))
            .flat_map(|there| rows_at(index, row, there))
            .filter(|&other| contradiction(index, row, other).is_none());
        match (fitting.next(), fitting.next()) {
            (Some(other), None) => OtherEnd::Row(Match {
                row: other,
                confidence: Confidence::Medium,
                basis: WaitBasis::OnlyCandidate,
            }),
            _ => OtherEnd::Ambiguous,
        }
    }

    /// The connection of another link that has the same id on the wire.
    fn same_connection(
        &self,
        index: &SnapshotIndex<'_>,
        endpoint: Endpoint,
        other_link: Endpoint,
    ) -> Option<Endpoint> {
        let conn_id = index.connection(endpoint).map_or(0, |row| row.conn_id);
        self.pairs.connection_of(other_link, conn_id)
    }
}

/// The rows of that id at another connection, seen from there.
fn rows_at<'s>(
    index: &'s SnapshotIndex<'_>,
    row: RowId,
    there: Endpoint,
) -> impl Iterator<Item = RowId> + use<'s> {
    let request = index.request(row);
    let direction = match request.direction {
        Direction::Outgoing => Direction::Incoming,
        Direction::Incoming => Direction::Outgoing,
    };
    index.rows_of(there, request.request_id, direction)
}

fn contradiction(index: &SnapshotIndex<'_>, a: RowId, b: RowId) -> Option<Contradiction> {
    let (caller, callee) = match index.request(a).direction {
        Direction::Outgoing => (a, b),
        Direction::Incoming => (b, a),
    };
    let (caller_row, callee_row) = (index.request(caller), index.request(callee));
    if caller_row.method_id != callee_row.method_id {
        return Some(Contradiction::OtherMethod);
    }
    if index.started_us(callee) + TOLERANCE_US < index.started_us(caller) {
        return Some(Contradiction::CalleeFirst);
    }
    if caller_row.phase == Phase::Responded && callee_row.phase < Phase::Responding {
        return Some(Contradiction::RespondedWhileRunning);
    }
    None
}
