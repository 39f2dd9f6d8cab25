//! How each request stands: young, usual or stuck; and which stuck calls each handler made.

use foldhash::{HashMap, HashMapExt, HashSet};
use roam_trace_common::event::{Direction, Mark, RequestKind};

use super::call::{Calls, OtherEnd};
use super::index::{RowId, SnapshotIndex};
use super::usual::{Measure, MeasureId, Measures};
use crate::model::Request;

/// A handler makes its call soon if no more than one part in so many of its time has passed.
const SOON: u64 = 5;

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Too young to be judged.
    Young,
    /// The user asked not to judge it.
    Ignored,
    /// No older than calls of its method are.
    Usual(MeasureId),
    Stuck(MeasureId),
}

/// How all requests stand.
pub(super) struct Standings {
    rows: Vec<Vec<Standing>>,
    /// Calls that are stuck, by the handler that made them.
    children: HashMap<RowId, Vec<RowId>>,
    /// Ages of calls that are stuck and whose handler is not known, by process, youngest first.
    parentless: Vec<Vec<u64>>,
}

impl Standings {
    pub(super) fn new(index: &SnapshotIndex<'_>, calls: &Calls, measures: &Measures) -> Self {
        let unanswered: HashSet<RowId> = index
            .requests()
            .filter(|(_, request)| request.mark == Some(Mark::EndedWithoutAnswer))
            .map(|(row, _)| row)
            .collect();
        let judge = Judge {
            index,
            calls,
            measures,
            unanswered,
        };
        let mut standings = Self {
            rows: index
                .snapshots
                .iter()
                .map(|snapshot| Vec::with_capacity(snapshot.requests.len()))
                .collect(),
            children: HashMap::new(),
            parentless: vec![Vec::new(); index.snapshots.len()],
        };
        for (row, request) in index.requests() {
            let standing = judge.standing(row, request);
            standings.rows[row.process as usize].push(standing);
            let is_stuck = matches!(standing, Standing::Stuck(_));
            if is_stuck && request.direction == Direction::Outgoing {
                standings.add_call(index, row, request);
            }
        }
        for ages in &mut standings.parentless {
            // Most often they are in the opposite order.
            ages.reverse();
            ages.sort_unstable();
        }
        standings
    }

    fn add_call(&mut self, index: &SnapshotIndex<'_>, row: RowId, request: &Request) {
        match index.parent(row) {
            Some(parent) => self.children.entry(parent).or_default().push(row),
            None => self.parentless[row.process as usize].push(request.age_us),
        }
    }

    pub(super) fn of(&self, row: RowId) -> Standing {
        self.rows[row.process as usize][row.index as usize]
    }

    pub(super) fn is_stuck(&self, row: RowId) -> bool {
        matches!(self.of(row), Standing::Stuck(_))
    }

    /// Whether a request is old and nothing speaks against its age.
    pub(super) fn is_unsuspicious(&self, row: RowId) -> bool {
        matches!(self.of(row), Standing::Usual(_) | Standing::Ignored)
    }

    /// The stuck calls that a handler has made.
    pub(super) fn children(&self, row: RowId) -> &[RowId] {
        self.children.get(&row).map_or(&[], Vec::as_slice)
    }

    /// How many stuck calls of a process are of an unknown handler.
    pub(super) fn parentless(&self, process: u32) -> u32 {
        self.parentless[process as usize].len() as u32
    }

    /// Whether a handler of that age may wait in a stuck call of its process whose handler is not known: one that was
    /// made soon after the handler started.
    pub(super) fn may_have_called(&self, process: u32, age_us: u64) -> bool {
        let ages = &self.parentless[process as usize];
        let soon_us = age_us - age_us / SOON;
        let at = ages.partition_point(|&call_us| call_us < soon_us);
        ages.get(at).is_some_and(|&call_us| call_us <= age_us)
    }
}

struct Judge<'a> {
    index: &'a SnapshotIndex<'a>,
    calls: &'a Calls,
    measures: &'a Measures,
    /// Handlers that are gone without an answer: however usual the age, none will come.
    unanswered: HashSet<RowId>,
}

impl Judge<'_> {
    fn standing(&self, row: RowId, request: &Request) -> Standing {
        let Some(own) = self.measures.of(self.index, row) else {
            return Standing::Ignored;
        };
        let measure = self.measures.get(own);
        if request.age_us < measure.stuck_us() {
            return Standing::Young;
        }
        let id = match measure {
            Measure::TooFew { .. } if request.kind == RequestKind::Call => {
                self.of_other_end(row).unwrap_or(own)
            }
            _ => own,
        };
        let measure = self.measures.get(id);
        if measure.is_unusual(request.age_us) || self.is_unanswered(row) {
            Standing::Stuck(id)
        } else {
            Standing::Usual(id)
        }
    }

    /// A process that has seen too few calls of a method end takes the other end's word for what is usual.
    fn of_other_end(&self, row: RowId) -> Option<MeasureId> {
        let OtherEnd::Row(other) = self.calls.other_end(self.index, row) else {
            return None;
        };
        let there = self.measures.of(self.index, other.row)?;
        self.measures.at_other_end(there)
    }

    fn is_unanswered(&self, row: RowId) -> bool {
        if self.unanswered.is_empty() {
            return false;
        }
        self.unanswered.contains(&row)
            || matches!(self.calls.other_end(self.index, row),
                OtherEnd::Row(other) if self.unanswered.contains(&other.row))
    }
}
