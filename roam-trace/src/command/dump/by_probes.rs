//! The snapshot of a process whose probes were attached.

use roam_dump::decode::loss_gaps;
use roam_dump::model::{Gap, Snapshot};
use roam_dump::read::Budget;
use roam_dump::render::Counted;
use roam_trace_common::event::{Loss, TrafficValue};
use roam_trace_common::limits;

use crate::cli::Source;
use crate::command::by_kernel::by_kernel;
use crate::command::by_registry::{self, without_registry};
use crate::error::TargetError;
use crate::merge::{Comparison, Coverage, Registries, Snapped, join_registries, window};
use crate::process::{Reading, Share};
use crate::watch::Watched;

/// The snapshot of a process by the kernel maps, together with its registry where that is asked for.
///
/// # Errors
///
/// [`TargetError`] if the process can no longer be read, or reports nothing.
pub(super) fn by_probes(
    share: &Share<'_>,
    source: Source,
    mut reading: Reading,
    watched: &Watched,
) -> Result<Snapped, TargetError> {
    let target = share.target;
    // A forked child reports nothing, and there is nothing to watch in it.
    if reading.images.is_empty() && !reading.inherited.is_empty() {
        return without_registry(target, &mut reading).map(Snapped::Done);
    }
    let mut other_gaps = gaps(share, &reading, watched)?;
    let process = target.label();
    let by_registry = match source {
        Source::Auto => {
            let now_ns = reading.now_ns;
            join_registries(&process, &mut reading.images, now_ns, &target.clock)
        }
        Source::Registry | Source::Probes => None,
    };
    // The kernel counts for all processes together.
    let losses = watched
        .maps
        .losses
        .iter()
        .filter(|&(loss, _)| loss != Loss::RequestUnmatched || !watched.has_probes_only);
    let losses = loss_gaps(losses, watched.is_seeded);
    Ok(match by_registry {
        Some(mut snapshot) => {
            snapshot.gaps.extend(losses);
            snapshot.gaps.append(&mut other_gaps);
            snapshot.window = Some(window(
                &snapshot,
                &watched.maps.traffic,
                &reading.images,
                watched.duration,
            ));
            Snapped::Compared(Box::new(compare(share, snapshot, reading, watched)))
        }
        None => {
            let mut snapshot = from_maps(share, source, &mut reading, watched);
            snapshot.gaps.splice(0..0, losses);
            snapshot.gaps.append(&mut other_gaps);
            Snapped::Done(snapshot)
        }
    })
}

/// The snapshot of a process by the kernel maps alone. Of its registry only names are of use.
fn from_maps(
    share: &Share<'_>,
    source: Source,
    reading: &mut Reading,
    watched: &Watched,
) -> Snapshot {
    let images = &mut reading.images;
    let room = match source {
        Source::Auto => share.budget,
        // The maps are limited themselves.
        Source::Registry | Source::Probes => Budget {
            rows: (limits::REQUESTS + limits::CHANNELS) as usize + share.budget.connections,
            channels: limits::CHANNELS as usize,
            ..share.budget
        },
    };
    let mut snapshot = by_kernel(share.target, images, &watched.maps, &room);
    snapshot.gaps.push(gap(
        "requests and channels that started before the probes were attached are missing",
    ));
    if !images.is_empty() {
        snapshot
            .gaps
            .push(gap("only the names come from the registry"));
    }
    snapshot.window = Some(window(
        &snapshot,
        &watched.maps.traffic,
        images,
        watched.duration,
    ));
    snapshot
}

fn compare(
    share: &Share<'_>,
    snapshot: Snapshot,
    reading: Reading,
    watched: &Watched,
) -> Comparison {
    let pid = share.target.pid();
    // A program that was executed meanwhile was not there to be seeded from.
    let is_seeded = watched.is_seeded && watched.maps.exited(pid).is_none();
    let coverage = Coverage {
        age: is_seeded.then(|| watched.read_at.elapsed()),
        losses: &watched.maps.losses,
        since_start: false,
    };
    let registries = Registries {
        read_ns: share.target.clock.initial_ns(reading.now_ns),
        is_whole: reading.is_whole(),
        room: reading.left,
        images: reading.images,
    };
    Comparison::new(snapshot, registries, watched.maps.rows_of(pid), &coverage)
}

/// Returns what neither the registry nor the kernel maps hold, as gaps.
fn gaps(share: &Share<'_>, reading: &Reading, watched: &Watched) -> Result<Vec<Gap>, TargetError> {
    let mut gaps = Vec::new();
    if reading.images.len() > 1 {
        gaps.push(gap(
            "the process has several registries, and their probes are counted together",
        ));
    }
    if let Some(exited) = watched.maps.exited(share.target.pid()) {
        let TrafficValue { started, ended } = exited.traffic;
        gaps.push(gap(format!(
            "the process executed another program while its probes were attached, after {} started and {} ended",
            Counted(started, "requests"),
            Counted(ended, "requests")
        )));
    }
    let refused = share.target.refused_probes()?;
    gaps.extend(
        refused
            .iter()
            .map(|refused| gap(format!("probes not attached: {refused}"))),
    );
    gaps.extend(by_registry::gaps(reading));
    Ok(gaps)
}

fn gap(text: impl Into<String>) -> Gap {
    Gap::Other { text: text.into() }
}
