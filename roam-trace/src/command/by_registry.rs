//! The snapshot of a process from its registries only.

use roam_dump::model::{Gap, Process, Snapshot, Source};

use crate::error::TargetError;
use crate::merge::join_registries;
use crate::process::missing_registry::MissingRegistry;
use crate::process::{Reading, Target};

/// The snapshot of a process by the registries that were read.
///
/// # Errors
///
/// Where it has none, or none that can be read.
pub(super) fn by_registry(target: &Target, mut reading: Reading) -> Result<Snapshot, TargetError> {
    let process = target.label();
    let images = &mut reading.images;
    let mut snapshot = match join_registries(&process, images, reading.now_ns, &target.clock) {
        Some(snapshot) => snapshot,
        None => without_registry(target, &mut reading)?,
    };
    snapshot.followed = target.is_followed;
    snapshot.gaps.extend(gaps(&reading));
    Ok(snapshot)
}

/// What of the registries of a process was not read.
pub(super) fn gaps(reading: &Reading) -> impl Iterator<Item = Gap> {
    let cut = "the process has more memory mappings than roam-trace reads".to_owned();
    let errors = reading.errors.iter();
    reading
        .is_cut
        .then_some(cut)
        .into_iter()
        .chain(errors.map(|error| format!("cannot read a registry: {error}")))
        .map(|text| Gap::Other { text })
}

/// What can be said of a process that has no registry of its own.
///
/// # Errors
///
/// Why it has none, unless it will have one.
pub(super) fn without_registry(
    target: &Target,
    reading: &mut Reading,
) -> Result<Snapshot, TargetError> {
    let Process { pid, name, .. } = target.label();
    if let Some(error) = reading.errors.pop() {
        return Err(TargetError::Registry { pid, name, error });
    }
    if let Some(&owner) = reading.inherited.first() {
        return Err(TargetError::Inherited { pid, name, owner });
    }
    let process = &target.process;
    if target.probed()?.is_empty() {
        return Err(target.why_no_target()?);
    }
    let missing = MissingRegistry::of(process)
        .map_err(|error| process.error("read the environment of", error))?;
    match missing {
        MissingRegistry::SwitchedOff => Err(TargetError::SwitchedOff { pid, name }),
        MissingRegistry::FileSizeLimit { bytes } => {
            Err(TargetError::FileSizeLimit { pid, name, bytes })
        }
        MissingRegistry::NothingReported => {
            let now_ns = target.clock.own_ns(target.clock.initial_now_ns());
            let mut snapshot = Snapshot::new(target.label(), Source::Registry, now_ns);
            snapshot.gaps.push(Gap::Other {
                text: "the process has had no connection yet".to_owned(),
            });
            Ok(snapshot)
        }
    }
}
