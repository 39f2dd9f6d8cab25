//! Which incoming request is which call: the two rows of one request.

use roam_trace_common::event::{Direction, Phase};

use super::pair::{Pairs, Partner};
use super::scene::{Endpoint, RowId, Scene};
use crate::model::{Basis, Confidence};

/// What was found of a request at the other end of its link.
#[derive(Debug, Clone)]
pub(super) enum OtherEnd {
    /// Its row.
    Row(Match),
    /// The other end is traced and has no such row.
    Missing(Endpoint),
    /// The other end has a row of that id, which cannot be this request's.
    Contradiction {
        /// That row.
        row: RowId,
        /// What does not fit.
        why: &'static str,
    },
    /// Several links or rows may be the other end.
    Ambiguous,
    /// No traced link is the other end.
    Untraced,
}

/// The row at the other end.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub(super) row: RowId,
    pub(super) confidence: Confidence,
    pub(super) basis: Basis,
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

    /// The other end's row of a request.
    pub(super) fn other_end(&self, scene: &Scene<'_>, row: RowId) -> OtherEnd {
        let endpoint = scene.endpoint(row);
        let link = scene.link(endpoint);
        match self.pairs.partner(link) {
            Some(partner) => self.at_partner(scene, row, endpoint, partner),
            None => self.among_candidates(scene, row, endpoint, link),
        }
    }

    fn at_partner(
        &self,
        scene: &Scene<'_>,
        row: RowId,
        endpoint: Endpoint,
        partner: &Partner,
    ) -> OtherEnd {
        let Some(there) = self.same_connection(scene, endpoint, partner.link) else {
            return OtherEnd::Missing(partner.link);
        };
        let mut wrong = None;
        let mut fitting = Vec::new();
        for other in rows_at(scene, row, there) {
            match contradiction(scene, row, other) {
                Some(why) => wrong = Some((other, why)),
                None => fitting.push(other),
            }
        }
        match (fitting.as_slice(), wrong) {
            (&[other], _) => OtherEnd::Row(Match {
                row: other,
                confidence: partner.confidence,
                basis: partner.basis.clone(),
            }),
            ([], Some((row, why))) => OtherEnd::Contradiction { row, why },
            ([], None) => OtherEnd::Missing(partner.link),
            _ => OtherEnd::Ambiguous,
        }
    }

    /// Where the link is ambiguous the request itself may still be at one of the candidates only.
    fn among_candidates(
        &self,
        scene: &Scene<'_>,
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
            .filter_map(|&candidate| self.same_connection(scene, endpoint, candidate))
            .flat_map(|there| rows_at(scene, row, there))
            .filter(|&other| contradiction(scene, row, other).is_none());
        match (fitting.next(), fitting.next()) {
            (Some(other), None) => OtherEnd::Row(Match {
                row: other,
                confidence: Confidence::Medium,
                basis: Basis::Fixed(
                    "only one of the links that may be the other end has this request",
                ),
            }),
            _ => OtherEnd::Ambiguous,
        }
    }

    /// The connection of another link that has the same id on the wire.
    fn same_connection(
        &self,
        scene: &Scene<'_>,
        endpoint: Endpoint,
        other_link: Endpoint,
    ) -> Option<Endpoint> {
        let conn_id = scene.connection(endpoint).map_or(0, |row| row.conn_id);
        self.pairs.connection_of(other_link, conn_id)
    }
}

/// The rows of that id at another connection, seen from there.
fn rows_at<'s>(
    scene: &'s Scene<'_>,
    row: RowId,
    there: Endpoint,
) -> impl Iterator<Item = RowId> + use<'s> {
    let request = scene.request(row);
    let direction = match request.direction {
        Direction::Outgoing => Direction::Incoming,
        Direction::Incoming => Direction::Outgoing,
    };
    scene.rows_of(there, request.request_id, direction)
}

/// Why two rows of one id cannot be one request.
fn contradiction(scene: &Scene<'_>, a: RowId, b: RowId) -> Option<&'static str> {
    let (caller, callee) = match scene.request(a).direction {
        Direction::Outgoing => (a, b),
        Direction::Incoming => (b, a),
    };
    let (caller_row, callee_row) = (scene.request(caller), scene.request(callee));
    if caller_row.method_id != callee_row.method_id {
        return Some("the two ends name different methods");
    }
    let tolerance_us = scene.tolerance_us([caller, callee]);
    if scene.started_us(callee) + tolerance_us < scene.started_us(caller) {
        return Some("the callee began before the caller");
    }
    if caller_row.phase == Phase::Responded && callee_row.phase < Phase::Responding {
        return Some("the caller has the response while the handler still runs");
    }
    None
}
