//! What the rules find: why a row is stuck, and what it waits for by that.

use std::sync::Arc;

use super::basis::WaitBasis;
use super::index::{Endpoint, RowId};
use super::reason::Reason;
use super::usual::MeasureId;
use crate::model::{Code, Confidence, Evidence};

/// A reason with its code and evidence. Rows of one link may share it.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) code: Code,
    pub(crate) reason: Reason,
    pub(crate) evidence: Arc<[Evidence]>,
}

/// One of the causes that were found, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CauseId(pub(crate) u32);

/// Why a row is stuck, and what its age was compared with, if it is a call's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RowCause {
    pub(crate) cause: CauseId,
    pub(crate) measure: Option<MeasureId>,
}

/// Why a row is stuck, and what it waits for by that.
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) cause: CauseId,
    pub(super) measure: Option<MeasureId>,
    /// Microseconds that it has lasted, of what is no row with an age of its own.
    pub(super) since_us: u64,
    /// Whether somebody may wait for it, of a call that the process serves.
    pub(super) is_awaited: bool,
    /// Whether the rows of both processes are to be read again before it counts.
    pub(super) is_unconfirmed: bool,
    pub(super) waits_for: Vec<Wait>,
}

impl Finding {
    pub(super) fn new(code: Code, cause: CauseId) -> Self {
        Self {
            code,
            cause,
            measure: None,
            since_us: 0,
            is_awaited: true,
            is_unconfirmed: matches!(code, Code::Inconsistent | Code::CallerGone),
            waits_for: Vec::new(),
        }
    }

    pub(super) fn since(self, since_us: u64) -> Self {
        Self { since_us, ..self }
    }

    pub(super) fn unconfirmed(self) -> Self {
        Self {
            is_unconfirmed: true,
            ..self
        }
    }

    pub(super) fn awaited(self, is_awaited: bool) -> Self {
        Self { is_awaited, ..self }
    }

    /// The cause as a row has it.
    pub(super) fn of_row(&self) -> RowCause {
        RowCause {
            cause: self.cause,
            measure: self.measure,
        }
    }

    pub(super) fn waiting_for_all(mut self, waits: Vec<Wait>) -> Self {
        self.waits_for.extend(waits);
        self
    }

    pub(super) fn waiting_for(mut self, wait: Wait) -> Self {
        self.waits_for.push(wait);
        self
    }
}

/// One step from what waits to what it waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) target: WaitTarget,
    pub(super) confidence: Confidence,
    pub(super) basis: WaitBasis,
}

impl Wait {
    /// A step that the process itself recorded.
    pub(super) fn known(target: WaitTarget, basis: WaitBasis) -> Self {
        Self {
            target,
            confidence: Confidence::Known,
            basis,
        }
    }
}

/// What something waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum WaitTarget {
    /// A request, in the process that serves or makes it.
    Request(RowId),
    /// The driver of a link.
    Driver(Endpoint),
    /// A process as a whole.
    Process(u32),
}
