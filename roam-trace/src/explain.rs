//! Brings together what verdicts need: counters before and after the snapshots,
//! the neighbours, and a second look at what contradicts itself.

use std::thread::sleep;
use std::time::Duration;

use roam_dump::analysis::{Counters, Facts, STUCK_US, explain};
use roam_dump::model::Snapshot;
use roam_dump::model::WaitGraph;

use crate::merge;
use crate::process::Target;
use crate::process::neighbour::{Neighbourhood, neighbourhood};

/// Pauses between looks at counters where connections look alike. What was sent before one is to arrive
/// within it, on a machine that has more to do too.
const LOOK_PAUSES_MS: [u64; 8] = [10, 10, 20, 20, 40, 40, 60, 60];

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
    let after = vec![counters(targets)];
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
    let mut explained = explain(snapshots, &facts, STUCK_US);
    if !explained.contradicting.is_empty() {
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
        facts.after = vec![counters(targets)];
        explained = explain(snapshots, &facts, STUCK_US);
    }
    if explained.is_ambiguous {
        log::info!("several connections look alike: their counters are watched");
        for pause_ms in LOOK_PAUSES_MS {
            sleep(Duration::from_millis(pause_ms));
            facts.after.push(counters(targets));
        }
        explained = explain(snapshots, &facts, STUCK_US);
    }
    explained.graph
}
