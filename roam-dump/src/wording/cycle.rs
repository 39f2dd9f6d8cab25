//! Requests that wait for each other, or may, in words.

use crate::analysis::Cycle;
use crate::model::Process;

pub(super) fn certain(cycle: &Cycle) -> String {
    match names(cycle).as_slice() {
        [] => "deadlock".to_owned(),
        [one] => format!("deadlock: {one} waits for itself"),
        names => format!("deadlock: {} wait for each other", names.join(" and ")),
    }
}

pub(super) fn possible(cycle: &Cycle) -> String {
    match names(cycle).as_slice() {
        [] => "possible cycle".to_owned(),
        [one] => format!("possible cycle, if handlers of {one} wait for each other"),
        names => format!(
            "possible cycle of {}, if handlers of the same process wait for each other",
            names.join(" and ")
        ),
    }
}

fn names(cycle: &Cycle) -> Vec<String> {
    cycle.processes.iter().map(Process::to_string).collect()
}
