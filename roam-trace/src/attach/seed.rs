//! Seeding: what was in flight before the probes were attached.
//!
//! A hang began before anybody attached, so the maps are filled from the
//! targets' registries. What happened between reading the registry and inserting
//! a row went past the probes, hence the second reading: [`Seeds::reconcile`]
//! takes out the rows that ended, and keeps what the others came to, which
//! [`Seeds::complete`] adds to a snapshot. Rows in the maps are never rewritten from
//! here: the programs change them in place, and either would lose the other's write.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use aya::Ebpf;
use aya::maps::Array;
use roam_trace_common::event::{ChannelValue, ConnectionValue, RecordKey, RequestValue};

use super::rows::Rows;
use crate::kernel::{Inserted, MapAccessError, Maps, Plain, TableMut};

/// The result of seeding, over all three kinds of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Rows that were inserted.
    pub inserted: usize,
    /// Rows that a probe had inserted before.
    pub present: usize,
    /// Rows that did not fit into the maps.
    pub full: usize,
}

/// What was put in.
#[derive(Default)]
pub(super) struct Seeds {
    requests: SeededRows<RequestValue>,
    channels: SeededRows<ChannelValue>,
    connections: SeededRows<ConnectionValue>,
}

impl Seeds {
    pub(super) fn insert(&mut self, bpf: &mut Ebpf, rows: &Rows) -> Result<Seeded, MapAccessError> {
        let mut seeded = Seeded::default();
        self.requests.insert(bpf, &rows.requests, &mut seeded)?;
        self.channels.insert(bpf, &rows.channels, &mut seeded)?;
        self.connections
            .insert(bpf, &rows.connections, &mut seeded)?;
        Ok(seeded)
    }

    pub(super) fn reconcile(&mut self, bpf: &mut Ebpf, now: &Rows) -> Result<(), MapAccessError> {
        self.requests.reconcile(bpf, &now.requests)?;
        self.channels.reconcile(bpf, &now.channels)?;
        self.connections.reconcile(bpf, &now.connections)?;
        count_unmatched(bpf)
    }

    /// Adds what the second reading knew to the rows that were seeded.
    pub(super) fn complete(&self, maps: &mut Maps) {
        self.requests.complete(&mut maps.requests);
        self.channels.complete(&mut maps.channels);
        self.connections.complete(&mut maps.connections);
    }
}

/// Has the programs count an end without a row from now on.
fn count_unmatched(bpf: &mut Ebpf) -> Result<(), MapAccessError> {
    const NAME: &str = "SEEDED";
    let failed = |source| MapAccessError { map: NAME, source };
    let map = bpf
        .map_mut(NAME)
        .ok_or_else(|| failed(std::io::Error::from(std::io::ErrorKind::NotFound).into()))?;
    let mut seeded = Array::<_, u32>::try_from(map).map_err(failed)?;
    seeded.set(0, 1, 0).map_err(failed)
}

/// A value that can be seeded.
trait Seed: Plain {
    const MAP: &'static str;

    /// Takes over from `later` what it knows and the row does not.
    fn catch_up(&mut self, later: &Self);
}

/// The seeded rows of one map.
struct SeededRows<V> {
    /// What they were like when they were put in. There may be a hundred thousand, and all that matters is
    /// whether they changed.
    rows: HashMap<RecordKey, Fingerprint>,
    hasher: RandomState,
    /// Those that had changed when the registry was read again.
    later: HashMap<RecordKey, V>,
}

impl<V> Default for SeededRows<V> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            hasher: RandomState::new(),
            later: HashMap::new(),
        }
    }
}

/// A hash of a row. A target that finds two rows with the same one hides from the tracer that one got further.
type Fingerprint = u64;

impl<V: Seed> SeededRows<V> {
    fn insert(
        &mut self,
        bpf: &mut Ebpf,
        rows: &[(RecordKey, V)],
        seeded: &mut Seeded,
    ) -> Result<(), MapAccessError> {
        let mut map = TableMut::open(bpf, V::MAP)?;
        self.rows.reserve(rows.len());
        for (key, value) in rows {
            match map.insert_new(*key, *value)? {
                Inserted::Yes => {
                    let fingerprint = self.hasher.hash_one(value.as_bytes());
                    self.rows.insert(*key, fingerprint);
                    seeded.inserted += 1;
                }
                Inserted::Present => seeded.present += 1,
                Inserted::Full => seeded.full += 1,
            }
        }
        Ok(())
    }

    fn reconcile(&mut self, bpf: &mut Ebpf, now: &[(RecordKey, V)]) -> Result<(), MapAccessError> {
        let mut map = TableMut::<RecordKey, V>::open(bpf, V::MAP)?;
        for key in self.settle(now) {
            map.remove(key)?;
        }
        Ok(())
    }

    /// Compares with the second reading. Returns what ended.
    fn settle(&mut self, now: &[(RecordKey, V)]) -> Vec<RecordKey> {
        let mut first = std::mem::take(&mut self.rows);
        for (key, value) in now {
            let fingerprint = self.hasher.hash_one(value.as_bytes());
            if first.remove(key).is_some_and(|first| first != fingerprint) {
                self.later.insert(*key, *value);
            }
        }
        first.into_keys().collect()
    }

    fn complete(&self, rows: &mut [(RecordKey, V)]) {
        if self.later.is_empty() {
            return;
        }
        for (key, value) in rows {
            if let Some(later) = self.later.get(key) {
                value.catch_up(later);
            }
        }
    }
}

impl Seed for RequestValue {
    const MAP: &'static str = "REQUESTS";

    fn catch_up(&mut self, later: &Self) {
        // Phases only go forward.
        if later.phase > self.phase {
            self.phase = later.phase;
            self.phase_ns = later.phase_ns;
        }
        if self.mark == 0 {
            self.mark = later.mark;
        }
        self.response_bytes = self.response_bytes.max(later.response_bytes);
    }
}

impl Seed for ChannelValue {
    const MAP: &'static str = "CHANNELS";

    fn catch_up(&mut self, later: &Self) {
        if later.last_activity_ns > self.last_activity_ns {
            self.last_activity_ns = later.last_activity_ns;
            self.receive_budget_bytes = later.receive_budget_bytes;
        }
        // Either may know of items that the other missed, and neither of too many.
        self.bytes_sent = self.bytes_sent.max(later.bytes_sent);
        self.items_sent = self.items_sent.max(later.items_sent);
        self.bytes_received = self.bytes_received.max(later.bytes_received);
        self.items_received = self.items_received.max(later.items_received);
    }
}

impl Seed for ConnectionValue {
    const MAP: &'static str = "CONNECTIONS";

    fn catch_up(&mut self, _: &Self) {}
}

#[cfg(test)]
mod tests {
    use roam_trace_common::event::Phase;
    use zerocopy::IntoBytes;

    use super::*;

    fn key(serial: u64) -> RecordKey {
        RecordKey {
            serial,
            tgid: 7,
            reserved: 0,
        }
    }

    fn at(phase: Phase, phase_ns: u64) -> RequestValue {
        RequestValue {
            phase: phase.code(),
            phase_ns,
            ..RequestValue::default()
        }
    }

    fn seeded(rows: &[(RecordKey, RequestValue)]) -> SeededRows<RequestValue> {
        let mut seeded = SeededRows::default();
        for (key, row) in rows {
            let fingerprint = seeded.hasher.hash_one(row.as_bytes());
            seeded.rows.insert(*key, fingerprint);
        }
        seeded
    }

    #[test]
    fn what_is_gone_at_the_second_reading_ended() {
        let row = at(Phase::Sent, 1);
        let mut seeds = seeded(&[(key(1), row), (key(2), row)]);
        // 3 came after the first reading: its start was seen by the probes.
        assert_eq!(seeds.settle(&[(key(2), row), (key(3), row)]), [key(1)]);
        assert!(seeds.later.is_empty());
    }

    #[test]
    fn a_phase_between_reading_and_insert_is_not_missed() {
        let mut seeds = seeded(&[(key(1), at(Phase::Queued, 1))]);
        assert!(seeds.settle(&[(key(1), at(Phase::Sent, 5))]).is_empty());

        let mut rows = [(key(1), at(Phase::Queued, 1))];
        seeds.complete(&mut rows);
        assert_eq!(rows[0].1, at(Phase::Sent, 5));

        // A phase that the probes saw since is later than the second reading.
        let mut rows = [(key(1), at(Phase::Responded, 9))];
        seeds.complete(&mut rows);
        assert_eq!(rows[0].1, at(Phase::Responded, 9));
    }
}
