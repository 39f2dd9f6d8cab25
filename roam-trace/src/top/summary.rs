//! What the first lines say of all processes together.

use roam_dump::model::Code;
use roam_trace_common::event::Direction;

use super::reading::ProcessStatus;
use super::readings::{ProcessPair, Readings};

/// How much happens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Totals {
    /// Processes that could be read.
    pub(super) processes: usize,
    /// Requests that are stuck.
    pub(super) stuck: usize,
    /// Of calls that processes make.
    pub(super) outgoing: Calls,
    /// Of calls that they serve.
    pub(super) incoming: Calls,
}

/// Calls of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Calls {
    pub(super) in_flight: usize,
    pub(super) ended_per_second: f64,
}

impl Totals {
    pub(super) fn of(readings: Readings<'_>) -> Self {
        let mut totals = Self::default();
        for process in readings.processes() {
            totals.processes += usize::from(process.now.status == ProcessStatus::Read);
            for request in &process.now.snapshot.requests {
                let verdict = request.verdict.as_ref();
                totals.stuck += usize::from(verdict.is_some_and(|row| row.code != Code::Usual));
                totals.calls(request.direction).in_flight += 1;
            }
            for direction in [Direction::Outgoing, Direction::Incoming] {
                totals.calls(direction).ended_per_second += ended_per_second(process, direction);
            }
        }
        totals
    }

    fn calls(&mut self, direction: Direction) -> &mut Calls {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }
}

fn ended_per_second(process: ProcessPair<'_>, direction: Direction) -> f64 {
    let Some(before) = process.before else {
        return 0.0;
    };
    let [now, before] = [process.now, before].map(|reading| -> u64 {
        let methods = reading.snapshot.methods.iter();
        let methods = methods.filter(|method| method.direction == direction);
        methods.map(|method| method.outcomes.ended()).sum()
    });
    now.saturating_sub(before) as f64 / process.seconds
}

/// What is wrong with what is shown: which processes have ended or cannot be read, and which rows are missing.
pub(super) fn problems(readings: Readings<'_>) -> Vec<String> {
    let mut problems = readings.now.problems.clone();
    for process in &readings.now.processes {
        let name = &process.snapshot.process;
        match &process.status {
            ProcessStatus::Ended => problems.push(format!("{name} has ended")),
            ProcessStatus::Unreadable(error) => problems.push(error.clone()),
            ProcessStatus::Read => {
                let gaps = process.snapshot.gaps.iter();
                problems.extend(gaps.map(|gap| format!("incomplete: {name}: {gap}")));
            }
        }
    }
    problems
}
