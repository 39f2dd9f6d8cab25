//! How many calls ended between two samples: an overload drains, and a hang does not.

use std::collections::HashMap;

use roam_trace_common::event::Direction;

use crate::model::Snapshot;

/// How many calls of each method had ended at one moment, by pid, direction and method id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedSample(pub HashMap<(u32, Direction, u64), u64>);

impl EndedSample {
    /// Adds the methods of a snapshot.
    pub fn add(&mut self, snapshot: &Snapshot) {
        for method in &snapshot.methods {
            let key = (snapshot.process.pid, method.direction, method.method_id);
            self.0.insert(key, method.outcomes.ended());
        }
    }
}

/// How many calls had ended at the moments of two samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedCalls {
    /// The first sample.
    pub before: EndedSample,
    /// The second sample.
    pub after: EndedSample,
    /// Microseconds between the two.
    pub elapsed_us: u64,
}

impl EndedCalls {
    /// Calls of a method that ended per second; `None` if no sample has the method.
    pub(super) fn per_second(&self, pid: u32, direction: Direction, method_id: u64) -> Option<f64> {
        let key = (pid, direction, method_id);
        let after = *self.after.0.get(&key)?;
        let before = self.before.0.get(&key).copied().unwrap_or(0);
        let ended = after.saturating_sub(before);
        (self.elapsed_us > 0).then(|| ended as f64 * 1e6 / self.elapsed_us as f64)
    }
}
