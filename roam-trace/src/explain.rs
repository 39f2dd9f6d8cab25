//! Brings together what verdicts need: counters before and after the snapshots,
//! the neighbours, and a second look at what contradicts itself.

use roam_diagnostic::snapshot::Snapshot;
use roam_diagnostic::wait::{Counters, Facts, STUCK_US, WaitGraph, explain};

use crate::merge;
use crate::target::Target;
use crate::target::neighbour::{Neighbourhood, neighbourhood};

/// The counters of every connection of several processes, as of now. What cannot be read is left out:
/// whoever reads its rows says so.
pub fn counters(targets: &[&Target]) -> Counters {
    let mut counters = Counters::default();
    // One process alone has nothing to be compared with.
    if targets.len() > 1 {
        for target in targets {
            if let Ok(registries) = target.read_connections() {
                merge::count(target.pid(), &registries, &mut counters);
            }
        }
    }
    counters
}

/// Gives the rows their verdicts and says who waits for whom.
///
/// `before` are the counters before the snapshots were taken. Snapshots of several processes are not one
/// instant: those that contradict others are taken anew with `again`, once.
pub fn explain_all(
    snapshots: &mut [Snapshot],
    targets: &[&Target],
    before: Counters,
    mut again: impl FnMut(&Target) -> Option<Snapshot>,
) -> WaitGraph {
    let after = counters(targets);
    let Neighbourhood {
        neighbours,
        processes,
    } = neighbourhood(targets);
    let mut facts = Facts {
        processes,
        neighbours,
        before,
        after,
    };
    let explained = explain(snapshots, &facts, STUCK_US);
    if explained.contradicting.is_empty() {
        return explained.graph;
    }
    log::info!(
        "processes {:?} contradict each other: they are read again",
        explained.contradicting
    );
    for snapshot in snapshots.iter_mut() {
        let pid = snapshot.process.pid;
        let target = targets.iter().find(|target| target.pid() == pid);
        if explained.contradicting.contains(&pid)
            && let Some(newer) = target.and_then(|target| again(target))
        {
            *snapshot = newer;
        }
    }
    facts.after = counters(targets);
    explain(snapshots, &facts, STUCK_US).graph
}
