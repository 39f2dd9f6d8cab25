//! Compares the snapshot of a process from its registries with the kernel maps.

use std::collections::HashMap;
use std::time::Duration;

use roam_dump::decode::{KernelRows, from_kernel};
use roam_dump::model::{Channel, Connection, Gap, Request, Snapshot, Source};
use roam_dump::read::{Budget, Image};
use roam_trace_common::event::Loss;

use super::compare::{Differences, Range};
use super::registries::SERIAL_MASK;
use crate::kernel::{Losses, Maps, ProcessRows};
use crate::micros::micros;

/// For how long a row need not be in the kernel maps. A program writes to its registry a moment before it passes
/// the probe, and in between other threads may run; the clock of registries is up to 10 ms late.
const GRACE: Duration = Duration::from_secs(1);

/// The registries that a snapshot was made from.
pub struct Registries {
    /// Their names and connections.
    pub images: Vec<Image>,
    /// When they were read, on the clock of the kernel maps.
    pub read_ns: u64,
    /// Whether everything was read, as far as there was room.
    pub is_whole: bool,
    /// How many more rows there is room for.
    pub room: Budget,
}

/// How complete the kernel maps are.
pub struct Coverage<'a> {
    /// How long before the registries the maps were read; `None` if they were not seeded with everything that
    /// started before.
    pub age: Option<Duration>,
    /// What the maps lost.
    pub losses: &'a Losses,
    /// Whether the probes were attached before the process started.
    pub since_start: bool,
}

/// A snapshot, and its differences from the kernel maps.
pub struct Comparison {
    snapshot: Snapshot,
    registries: Registries,
    requests: Differences,
    channels: Differences,
    connections: Differences,
    /// Whether the kernel maps alone have requests.
    is_probes_only: bool,
}

impl Comparison {
    /// Compares a snapshot of registries with the kernel maps, which were read before the registries.
    pub fn new(
        mut snapshot: Snapshot,
        mut registries: Registries,
        maps: ProcessRows<'_>,
        coverage: &Coverage<'_>,
    ) -> Self {
        snapshot.source = Source::Both;
        let is_probes_only = registries.images.iter().any(Image::is_probes_only);
        if is_probes_only {
            // Then the maps have all its requests.
            snapshot
                .gaps
                .retain(|gap| !(coverage.since_start && matches!(gap, Gap::ProbesOnly { .. })));
            for gap in &mut snapshot.gaps {
                if let Gap::ProbesOnly { attached } = gap {
                    *attached = true;
                }
            }
        }
        let [requests, channels, connections] = ranges(&snapshot, &registries, coverage);
        let mut comparison = Self {
            requests: match is_probes_only {
                true => Differences::default(),
                false => Differences::find(&mut snapshot.requests, maps.requests, requests),
            },
            channels: Differences::find(&mut snapshot.channels, maps.channels, channels),
            connections: Differences::find(
                &mut snapshot.connections,
                maps.connections,
                connections,
            ),
            snapshot,
            registries: Registries {
                images: Vec::new(),
                ..registries
            },
            is_probes_only,
        };
        // In the kernel maps, rows of several registries replace one another.
        if registries.images.len() > 1 {
            comparison.forget_differences();
        }
        if is_probes_only || !comparison.is_settled() {
            comparison.registries.images = std::mem::take(&mut registries.images);
        }
        comparison
    }

    /// Returns whether reading the kernel maps once more could settle nothing.
    pub fn is_settled(&self) -> bool {
        self.requests.is_settled() && self.channels.is_settled() && self.connections.is_settled()
    }

    /// Settles the differences that are gone in a newer reading of the kernel maps.
    pub fn settle(&mut self, maps: &Maps) {
        let Snapshot {
            process,
            requests,
            channels,
            connections,
            ..
        } = &mut self.snapshot;
        // Then its rows are gone from the maps, and say nothing of those in its registry.
        if maps.exited(process.pid).is_some() {
            self.forget_differences();
            return;
        }
        let rows = maps.rows_of(process.pid);
        self.requests.settle(requests, rows.requests);
        self.channels.settle(channels, rows.channels);
        self.connections.settle(connections, rows.connections);
    }

    /// Drops the differences: the snapshot is then that of the registries.
    pub fn forget_differences(&mut self) {
        self.requests = Differences::default();
        self.channels = Differences::default();
        self.connections = Differences::default();
    }

    /// Returns the snapshot with the rows that only the kernel maps have. `maps` must be those that were last
    /// settled with.
    pub fn finish(self, maps: &Maps) -> Snapshot {
        let Self {
            mut snapshot,
            registries,
            requests,
            channels,
            connections,
            is_probes_only,
        } = self;
        let rows = maps.rows_of(snapshot.process.pid);
        let is_whole = registries.is_whole;
        let (mut requests, gaps) = requests.finish::<Request>(rows.requests, is_whole);
        snapshot.gaps.extend(gaps);
        if is_probes_only {
            requests = rows.requests.iter().collect();
        }
        let (channels, gaps) = channels.finish::<Channel>(rows.channels, is_whole);
        snapshot.gaps.extend(gaps);
        let (connections, gaps) = connections.finish::<Connection>(rows.connections, is_whole);
        snapshot.gaps.extend(gaps);
        if !(requests.is_empty() && channels.is_empty() && connections.is_empty()) {
            let rows = KernelRows {
                requests,
                channels,
                connections,
            };
            add(&mut snapshot, rows, &registries);
        }
        snapshot
    }
}

/// The snapshot of one process, as far as it is known.
#[expect(clippy::large_enum_variant, reason = "there is one for each process")]
pub enum Snapped {
    /// It is complete.
    Done(Snapshot),
    /// Rows that the kernel maps alone have are missing, unless the maps agree when they are read again.
    Compared(Box<Comparison>),
}

impl Snapped {
    /// The comparison, if reading the kernel maps once more could settle something.
    pub fn unsettled(&mut self) -> Option<&mut Comparison> {
        match self {
            Self::Compared(comparison) if !comparison.is_settled() => Some(comparison),
            Self::Compared(_) | Self::Done(_) => None,
        }
    }

    /// The snapshot. `maps` must be those that were last settled with.
    pub fn finish(self, maps: &Maps) -> Snapshot {
        match self {
            Self::Done(snapshot) => snapshot,
            Self::Compared(comparison) => comparison.finish(maps),
        }
    }
}

/// Which rows both sources should have, for each kind.
fn ranges(snapshot: &Snapshot, registries: &Registries, coverage: &Coverage<'_>) -> [Range; 3] {
    let images = &registries.images;
    let youngest_ns = |age_us: Option<u64>| {
        let age_ns = age_us.map_or(u64::MAX, |age_us| (age_us + 1).saturating_mul(1_000));
        registries.read_ns.saturating_sub(age_ns)
    };
    let range = |lost, is_truncated, youngest_ns| Range {
        mapped_age_us: coverage
            .age
            .filter(|_| coverage.losses.get(lost) == 0)
            .map(|age| micros(age + GRACE)),
        until_ns: if is_truncated { youngest_ns } else { u64::MAX },
        serial_mask: if images.len() > 1 {
            SERIAL_MASK
        } else {
            u64::MAX
        },
    };
    [
        range(
            Loss::RequestInsert,
            images.iter().any(|image| image.truncated.requests > 0),
            youngest_ns(snapshot.requests.last().map(|row| row.age_us)),
        ),
        range(
            Loss::ChannelInsert,
            images.iter().any(|image| image.truncated.channels > 0),
            youngest_ns(snapshot.channels.last().map(|row| row.age_us)),
        ),
        // Of connections, those are left out for which there was no room, whatever their age.
        range(
            Loss::ConnectionInsert,
            images.iter().any(|image| image.truncated.connections > 0),
            0,
        ),
    ]
}

/// Adds rows of the kernel maps to a snapshot.
fn add(snapshot: &mut Snapshot, rows: KernelRows<'_>, registries: &Registries) {
    let Registries {
        images,
        read_ns,
        room,
        ..
    } = registries;
    let mut added = from_kernel(snapshot.process.clone(), rows, images, *read_ns, room);
    for gap in added.gaps {
        gap.join(&mut snapshot.gaps);
    }
    snapshot.requests.append(&mut added.requests);
    snapshot.channels.append(&mut added.channels);
    snapshot.connections.append(&mut added.connections);
    let mut owned: Vec<_> = (snapshot.channels.iter_mut())
        .filter(|channel| channel.request_id.is_none())
        .filter_map(|channel| Some((channel.request?, channel)))
        .collect();
    if !owned.is_empty() {
        let ids: HashMap<u64, u64> = snapshot
            .requests
            .iter()
            .map(|row| (row.serial, row.request_id))
            .collect();
        for (request, channel) in &mut owned {
            channel.request_id = ids.get(request).copied();
        }
    }
    snapshot.sort();
}
