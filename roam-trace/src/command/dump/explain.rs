//! The third step: why what is in flight does not move, and who waits for whom.
//!
//! Brings together what verdicts need: counters before and after the snapshots, the neighbours, and snapshots
//! taken anew of processes that contradict others.

use std::collections::{HashMap, HashSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use roam_dump::Explanation;
use roam_dump::analysis::{EndedCalls, Facts, StillThere, Thresholds};
use roam_dump::model::{Dump, Node, NodeKind, SCHEMA_VERSION, Snapshot, Source};
use roam_dump::shm::join;

use super::capture::{Captured, Watching, read_once_more};
use super::sample::{ended, sample, still_there};
use super::{hubs, sockets};
use crate::cli::{DumpArgs, StuckAfter};
use crate::micros::micros;
use crate::process::{Share, UserNames};

/// Pauses between samples of counters where connections look alike. What was sent before one is to arrive
/// within it, on a machine that has more to do too.
const SAMPLE_PAUSES_MS: [u64; 8] = [10, 10, 20, 20, 40, 40, 60, 60];

/// How long the calls that end are counted if many handlers wait inside their process.
const ENDED_PAUSE: Duration = Duration::from_millis(300);

/// What was captured, with what is known of it so far.
pub(super) struct Explained {
    /// The snapshots have their verdicts.
    pub(super) captured: Captured,
    pub(super) facts: Facts,
    thresholds: Thresholds,
    explanation: Explanation,
}

impl Explained {
    /// Gives the rows their verdicts, as far as one look shows them.
    pub(super) fn at_first(mut captured: Captured, shares: &[Share<'_>], args: &DumpArgs) -> Self {
        let mut facts = sockets::find(shares, captured.before.clone());
        hubs::find(shares, args, &mut facts);
        let thresholds = thresholds(args);
        let explanation = roam_dump::explain(&mut captured.snapshots, &facts, &thresholds);
        Self {
            captured,
            facts,
            thresholds,
            explanation,
        }
    }

    /// Forgets what was found: there is no room for it twice.
    pub(super) fn into_captured(self) -> Captured {
        self.captured
    }

    /// Looks again where that can decide something, and finds who waits for whom.
    pub(super) fn finish(self, shares: &[Share<'_>]) -> Dump {
        let Self {
            captured:
                Captured {
                    mut snapshots,
                    taken_at,
                    watching,
                    ..
                },
            mut facts,
            thresholds,
            explanation,
        } = self;
        let explained = confirm(
            explanation,
            &mut snapshots,
            shares,
            &mut facts,
            &watching,
            &thresholds,
        );
        // Snapshots that were taken anew have none.
        let users = UserNames::read();
        for snapshot in &mut snapshots {
            let share = share_of(snapshot, shares);
            snapshot.details = share.map(|share| share.target.process.details(&users));
        }
        let mut hubs = facts.hubs;
        join(&mut hubs, &snapshots);
        Dump {
            schema_version: SCHEMA_VERSION,
            taken_at,
            verdicts: explained.verdicts,
            processes: snapshots,
            hubs,
            graph: Some(explained.graph),
        }
    }
}

/// Snapshots of several processes are not one instant: those that contradict others are taken anew, once.
fn confirm(
    mut explained: Explanation,
    snapshots: &mut [Snapshot],
    shares: &[Share<'_>],
    facts: &mut Facts,
    watching: &Watching,
    thresholds: &Thresholds,
) -> Explanation {
    if !explained.unconfirmed.is_empty() {
        log::info!(
            "verdicts on processes {:?} need confirmation: reading these processes again",
            explained.unconfirmed
        );
        for snapshot in snapshots.iter_mut() {
            if explained.unconfirmed.contains(&snapshot.process.pid)
                && let Some(share) = share_of(snapshot, shares)
                && let Some(newer) = read_once_more(share, watching)
            {
                *snapshot = newer;
            }
        }
        facts.still_there = still_there(shares, snapshots);
        for share in shares {
            add_pinned(share, snapshots, watching, &mut facts.still_there);
        }
        facts.after = vec![sample(shares).counters];
        explained = roam_dump::explain(snapshots, facts, thresholds);
    }
    if explained.is_ambiguous {
        log::info!("the other ends of some connections are ambiguous: sampling counters");
        for pause_ms in SAMPLE_PAUSES_MS {
            sleep(Duration::from_millis(pause_ms));
            facts.after.push(sample(shares).counters);
        }
        explained = roam_dump::explain(snapshots, facts, thresholds);
    }
    if explained.graph.nodes.iter().any(is_pile) {
        log::info!("many handlers wait inside their process: counting the calls that end");
        let (before, began) = (ended(shares), Instant::now());
        sleep(ENDED_PAUSE);
        facts.ended = Some(EndedCalls {
            before,
            after: ended(shares),
            elapsed_us: micros(began.elapsed()),
        });
        explained = roam_dump::explain(snapshots, facts, thresholds);
    }
    explained
}

fn share_of<'a>(snapshot: &Snapshot, shares: &'a [Share<'a>]) -> Option<&'a Share<'a>> {
    let pid = snapshot.process.pid;
    shares.iter().find(|share| share.target.pid() == pid)
}

/// Adds which rows of a process are still in flight that only the pinned maps have.
fn add_pinned(
    share: &Share<'_>,
    snapshots: &[Snapshot],
    watching: &Watching,
    still_there: &mut HashMap<u32, StillThere>,
) {
    let pid = share.target.pid();
    let armed = snapshots
        .iter()
        .find(|snapshot| snapshot.process.pid == pid && snapshot.armed_us.is_some());
    let Some(snapshot) = armed else { return };
    let Some([requests, channels]) = watching.serials(share) else {
        return;
    };
    let still_there = still_there.entry(pid).or_default();
    let rows = snapshot.requests.iter().map(|row| (row.source, row.serial));
    still_there.requests.extend(in_maps_alone(rows, &requests));
    let rows = snapshot.channels.iter().map(|row| (row.source, row.serial));
    still_there.channels.extend(in_maps_alone(rows, &channels));
}

fn in_maps_alone(
    rows: impl Iterator<Item = (Source, u64)>,
    mapped: &HashSet<u64>,
) -> impl Iterator<Item = u64> {
    rows.filter(|(source, serial)| *source == Source::Probes && mapped.contains(serial))
        .map(|(_, serial)| serial)
}

fn is_pile(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Handlers(_))
}

/// From when on something counts as stuck, as the user wants it.
fn thresholds(args: &DumpArgs) -> Thresholds {
    let mut thresholds = Thresholds::default();
    for StuckAfter { method, time } in &args.stuck_after {
        let stuck_us = micros(*time);
        match method {
            Some(method) => thresholds.methods.push((method.as_str().into(), stuck_us)),
            None => thresholds.stuck_us = stuck_us,
        }
    }
    let ignored = args.ignore.iter().map(|method| method.as_str().into());
    thresholds.ignored.extend(ignored);
    thresholds
}
