//! What the programs report live: the ring buffer of events, the buckets of histograms, and what was lost of either.
#![allow(unsafe_code)]

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, RingBuf};
use roam_trace_common::event::{BucketKey, EventRecord, LiveCount};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes;

use super::error::MapAccessError;
use super::table::{self, AyaPod, MapSource};

/// The events, in the order in which they were put into the ring buffer.
pub struct Events(RingBuf<MapData>);

impl Events {
    pub(crate) fn open(bpf: &mut Ebpf) -> Result<Self, MapAccessError> {
        const NAME: &str = "EVENTS";
        let failed = |source| MapAccessError { map: NAME, source };
        let map = bpf
            .take_map(NAME)
            .ok_or_else(|| failed(io::Error::from(ErrorKind::NotFound).into()))?;
        RingBuf::try_from(map).map(Self).map_err(failed)
    }

    /// Takes the next event out of the ring buffer, if there is one.
    pub fn take(&mut self) -> Option<EventRecord> {
        let bytes = self.0.next()?;
        EventRecord::read_from_bytes(&bytes).ok()
    }

    /// Has a tokio runtime, in which this is called, wait until many events are queued.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn wait_by_tokio(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: The descriptor is the map's own, which closes it when it is dropped and not before.
        let waiting = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        waiting.map_err(Into::into)
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What is missing in live views.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Events, or calls of a histogram, that there was no room for, by CPU.
    pub lost: Vec<u64>,
    /// Requests that ended and were not reported, since nothing is known of their start.
    pub unknown: u64,
}

/// Reads what is missing.
pub(crate) fn read_live_counts(source: &impl MapSource) -> Result<LiveCounts, MapAccessError> {
    const NAME: &str = "LIVE_COUNTS";
    let failed = |source| MapAccessError { map: NAME, source };
    let counters = PerCpuArray::<_, u64>::try_from(table::find(source, NAME)?).map_err(failed)?;
    let by_cpu = |count: LiveCount| counters.get(&count.code(), 0).map_err(failed);
    Ok(LiveCounts {
        lost: by_cpu(LiveCount::Lost)?.to_vec(),
        unknown: by_cpu(LiveCount::Unknown)?.iter().sum(),
    })
}

/// Reads the buckets that have calls in them, over all CPUs.
pub(crate) fn read_histograms(
    source: &impl MapSource,
) -> Result<Vec<(BucketKey, u64)>, MapAccessError> {
    const NAME: &str = "HISTOGRAMS";
    let failed = |source| MapAccessError { map: NAME, source };
    let buckets = PerCpuHashMap::<_, AyaPod<BucketKey>, u64>::try_from(table::find(source, NAME)?)
        .map_err(failed)?;
    buckets
        .iter()
        .map(|entry| {
            let (AyaPod(key), calls) = entry.map_err(failed)?;
            Ok((key, calls.iter().sum()))
        })
        .collect()
}
