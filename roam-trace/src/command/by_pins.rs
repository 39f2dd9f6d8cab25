//! The snapshot of a process whose files are armed.

use roam_dump::model::{Gap, Snapshot};
use roam_dump::read::Image;

use super::by_kernel::by_kernel;
use super::by_registry::{self, without_registry};
use super::pins::{Covered, PinnedRows};
use crate::cli::Source;
use crate::error::TargetError;
use crate::merge::{Comparison, Coverage, Registries, Snapped, join_registries};
use crate::process::{Reading, Share};

/// The snapshot of a process by the rows that its probes put into the pinned maps, compared with its registry if it has
/// one.
///
/// # Errors
///
/// [`TargetError`] if the process reports nothing.
pub(super) fn by_pins(
    share: &Share<'_>,
    source: Source,
    mut reading: Reading,
    rows: &PinnedRows,
    covered: &Covered,
) -> Result<Snapped, TargetError> {
    let target = share.target;
    // A forked child reports nothing.
    if reading.images.is_empty() && !reading.inherited.is_empty() {
        return without_registry(target, &mut reading).map(Snapped::Done);
    }
    let mut gaps: Vec<Gap> = rows.losses().collect();
    gaps.extend(covered.gaps.iter().cloned());
    gaps.extend(by_registry::gaps(&reading));
    let now_ns = reading.now_ns;
    let joined = match source {
        Source::Auto => {
            join_registries(&target.label(), &mut reading.images, now_ns, &target.clock)
        }
        Source::Registry | Source::Probes => None,
    };
    let Some(snapshot) = joined else {
        let images = &mut reading.images;
        return Ok(Snapped::Done(from_maps(share, images, rows, covered, gaps)));
    };
    let coverage = Coverage {
        age: covered.is_complete.then(|| rows.read_at.elapsed()),
        losses: rows.lost(),
        since_start: covered.is_complete,
    };
    let registries = Registries {
        read_ns: target.clock.initial_ns(now_ns),
        is_whole: reading.is_whole(),
        room: reading.left,
        images: reading.images,
    };
    let mut snapshot = Snapshot {
        followed: target.is_followed,
        armed_us: Some(covered.armed_us),
        ..snapshot
    };
    snapshot.gaps.append(&mut gaps);
    let rows = rows.maps.rows_of(target.pid());
    let comparison = Comparison::new(snapshot, registries, rows, &coverage);
    Ok(Snapped::Compared(Box::new(comparison)))
}

/// The snapshot by the pinned maps alone.
fn from_maps(
    share: &Share<'_>,
    images: &mut [Image],
    rows: &PinnedRows,
    covered: &Covered,
    mut gaps: Vec<Gap>,
) -> Snapshot {
    let mut snapshot = by_kernel(share.target, images, &rows.maps, &share.budget);
    snapshot.armed_us = Some(covered.armed_us);
    if !covered.is_complete {
        gaps.push(Gap::Other {
            text: "requests and channels that started before the probes were attached are missing"
                .to_owned(),
        });
    }
    snapshot.gaps.append(&mut gaps);
    snapshot
}
