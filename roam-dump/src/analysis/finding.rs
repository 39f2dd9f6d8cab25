//! What the rules find: why a row is stuck, and what it waits for by that.

use std::sync::Arc;

use super::basis::WaitBasis;
use super::index::{Endpoint, RowId};
use super::reason::Reason;
use crate::model::{Code, Confidence, Evidence};

/// A reason with its code and evidence. Rows of one link may share it.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) code: Code,
    pub(crate) reason: Reason,
    pub(crate) evidence: Arc<[Evidence]>,
}

/// One of the causes that were found, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CauseId(pub(crate) u32);

/// Why a row is stuck, and what it waits for by that.
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) cause: CauseId,
    pub(super) waits_for: Vec<Wait>,
}

impl Finding {
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
    /// A process of which nothing more is known.
    Process(u32),
}
