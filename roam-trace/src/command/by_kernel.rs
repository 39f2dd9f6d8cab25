//! The snapshot of a process from the kernel maps only.

use roam_dump::decode::{KernelRows, from_kernel};
use roam_dump::model::Snapshot;
use roam_dump::read::{Budget, Image};

use crate::kernel::{Maps, ProcessRows};
use crate::process::Target;

/// The snapshot of a process by the kernel maps. Of its registries, only names are of use.
pub(super) fn by_kernel(
    target: &Target,
    images: &mut [Image],
    maps: &Maps,
    room: &Budget,
) -> Snapshot {
    images.iter_mut().for_each(Image::forget_rows);
    let ProcessRows {
        requests,
        channels,
        connections,
    } = maps.rows_of(target.pid());
    let rows = KernelRows {
        requests: requests.iter().collect(),
        channels: channels.iter().collect(),
        connections: connections.iter().collect(),
    };
    let now_ns = target.clock.initial_now_ns();
    let mut snapshot = from_kernel(target.label(), rows, images, now_ns, room);
    snapshot.taken_ns = target.clock.own_ns(now_ns);
    snapshot.followed = target.is_followed;
    snapshot
}
