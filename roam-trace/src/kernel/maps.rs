//! Everything that the maps hold, without what belongs to processes that ended.

use std::collections::HashMap;

use aya::maps::PerCpuArray;
use roam_trace_common::event::{
    ChannelValue, ConnectionValue, Loss, RecordKey, RequestValue, TargetEnd, TargetValue,
    TrafficValue,
};

use super::error::MapAccessError;
use super::table::{self, MapSource, Table};

/// Everything the kernel maps hold, for the processes that have not ended. Rows are in the order of process and
/// serial.
#[derive(Debug, Clone, Default)]
pub struct Maps {
    /// Requests in flight.
    pub requests: Vec<(RecordKey, RequestValue)>,
    /// Open channels.
    pub channels: Vec<(RecordKey, ChannelValue)>,
    /// Open connections.
    pub connections: Vec<(RecordKey, ConnectionValue)>,
    /// Requests that started and ended since the tracer attached. The key's serial is the
    /// connection's.
    pub traffic: Vec<(RecordKey, TrafficValue)>,
    /// What the four lists lack, or have too many of.
    pub losses: Losses,
    /// The processes that exited, or executed another program; they have no rows.
    pub exited: Vec<Exited>,
}

/// The rows of one process, by serial.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessRows<'a> {
    /// Requests in flight.
    pub requests: &'a [(RecordKey, RequestValue)],
    /// Open channels.
    pub channels: &'a [(RecordKey, ChannelValue)],
    /// Open connections.
    pub connections: &'a [(RecordKey, ConnectionValue)],
}

/// A process that exited, or executed another program, while it was traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exited {
    /// Its pid.
    pub tgid: u32,
    /// How tracing it ended.
    pub end: TargetEnd,
    /// When, `CLOCK_MONOTONIC` nanoseconds of the initial time namespace.
    pub ended_ns: u64,
    /// Requests that started and ended before, over all its connections.
    pub traffic: TrafficValue,
}

/// Events that the eBPF programs could not record, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses([u64; Loss::ALL.len()]);

impl Losses {
    /// Returns the count of one kind.
    pub fn get(&self, loss: Loss) -> u64 {
        self.0.get(loss.code() as usize).copied().unwrap_or(0)
    }

    /// Returns the kinds that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        Loss::ALL
            .iter()
            .map(|loss| (*loss, self.get(*loss)))
            .filter(|(_, count)| *count != 0)
    }

    /// Returns whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Reads every map but that of the traffic, which was read before.
pub(crate) fn read(
    source: &impl MapSource,
    traffic: Vec<(RecordKey, TrafficValue)>,
) -> Result<Maps, MapAccessError> {
    let mut maps = Maps {
        requests: Table::open(source, "REQUESTS")?.entries()?,
        channels: Table::open(source, "CHANNELS")?.entries()?,
        connections: Table::open(source, "CONNECTIONS")?.entries()?,
        traffic,
        losses: read_losses(source)?,
        exited: Vec::new(),
    };
    // Read last: whatever was read of a process before it ended is dropped.
    let targets = read_targets(source)?;
    maps.drop_strangers(&targets);
    maps.exited = exited(targets);
    maps.drop_exited();
    maps.sort();
    Ok(maps)
}

/// Reads the entries of the processes.
pub(crate) fn read_targets(
    source: &impl MapSource,
) -> Result<HashMap<u32, TargetValue>, MapAccessError> {
    let targets = Table::open(source, "TARGETS")?.entries()?;
    Ok(targets.into_iter().collect())
}

/// Reads what moved over every connection since the probes were attached.
pub(crate) fn read_traffic(
    source: &impl MapSource,
) -> Result<Vec<(RecordKey, TrafficValue)>, MapAccessError> {
    Table::open(source, "TRAFFIC")?.entries()
}

impl Maps {
    /// Returns the rows of a process.
    pub fn rows_of(&self, tgid: u32) -> ProcessRows<'_> {
        ProcessRows {
            requests: of_process(&self.requests, tgid),
            channels: of_process(&self.channels, tgid),
            connections: of_process(&self.connections, tgid),
        }
    }

    /// Drops the rows of a process that began before a moment.
    pub fn forget_older(&mut self, tgid: u32, since_ns: u64) {
        let is_kept = |key: &RecordKey, began_ns| key.tgid != tgid || began_ns >= since_ns;
        self.requests
            .retain(|(key, value)| is_kept(key, value.started_ns));
        self.channels
            .retain(|(key, value)| is_kept(key, value.opened_ns));
        self.connections
            .retain(|(key, value)| is_kept(key, value.opened_ns));
    }

    /// Returns how a process ended, if it did while it was traced.
    pub fn exited(&self, tgid: u32) -> Option<&Exited> {
        self.exited.iter().find(|exited| exited.tgid == tgid)
    }

    /// Subtracts the traffic that `earlier` has counted.
    pub fn count_from(&mut self, earlier: &[(RecordKey, TrafficValue)]) {
        for exited in &mut self.exited {
            for (_, earlier) in earlier.iter().filter(|(key, _)| key.tgid == exited.tgid) {
                exited.traffic.started -= earlier.started;
                exited.traffic.ended -= earlier.ended;
            }
        }
        let earlier: HashMap<_, _> = earlier.iter().copied().collect();
        for (key, value) in &mut self.traffic {
            if let Some(earlier) = earlier.get(key) {
                value.started = value.started.saturating_sub(earlier.started);
                value.ended = value.ended.saturating_sub(earlier.ended);
            }
        }
    }

    fn sort(&mut self) {
        self.requests.sort_unstable_by_key(|(key, _)| order(key));
        self.channels.sort_unstable_by_key(|(key, _)| order(key));
        self.connections.sort_unstable_by_key(|(key, _)| order(key));
    }

    /// Drops the rows of processes without an entry, which have ended, and those that are older than the entry of
    /// their process: they were another one's, which had its pid.
    fn drop_strangers(&mut self, targets: &HashMap<u32, TargetValue>) {
        let is_own = |key: &RecordKey, began_ns: u64| {
            let target = targets.get(&key.tgid);
            target.is_some_and(|target| target.began_ns <= began_ns)
        };
        self.requests
            .retain(|(key, value)| is_own(key, value.started_ns));
        self.channels
            .retain(|(key, value)| is_own(key, value.opened_ns));
        self.connections
            .retain(|(key, value)| is_own(key, value.opened_ns));
    }

    /// Drops the rows of processes that ended, which the programs leave in the maps. Of their traffic the sum
    /// remains.
    fn drop_exited(&mut self) {
        if self.exited.is_empty() {
            return;
        }
        let mut exited: HashMap<u32, &mut TrafficValue> = self
            .exited
            .iter_mut()
            .map(|exited| (exited.tgid, &mut exited.traffic))
            .collect();
        for (key, value) in &self.traffic {
            if let Some(sum) = exited.get_mut(&key.tgid) {
                sum.started += value.started;
                sum.ended += value.ended;
            }
        }
        let lives = |key: &RecordKey| !exited.contains_key(&key.tgid);
        self.requests.retain(|(key, _)| lives(key));
        self.channels.retain(|(key, _)| lives(key));
        self.connections.retain(|(key, _)| lives(key));
        self.traffic.retain(|(key, _)| lives(key));
    }
}

fn order(key: &RecordKey) -> (u32, u64) {
    (key.tgid, key.serial)
}

/// The part of rows in order that is of one process.
fn of_process<V>(rows: &[(RecordKey, V)], tgid: u32) -> &[(RecordKey, V)] {
    let start = rows.partition_point(|(key, _)| key.tgid < tgid);
    let end = rows.partition_point(|(key, _)| key.tgid <= tgid);
    &rows[start..end]
}

fn read_losses(source: &impl MapSource) -> Result<Losses, MapAccessError> {
    const NAME: &str = "LOSSES";
    let failed = |source| MapAccessError { map: NAME, source };
    let map = table::find(source, NAME)?;
    let counters = PerCpuArray::<_, u64>::try_from(map).map_err(failed)?;
    let mut losses = Losses::default();
    for (index, sum) in losses.0.iter_mut().enumerate() {
        let per_cpu = counters.get(&(index as u32), 0).map_err(failed)?;
        *sum = per_cpu.iter().sum();
    }
    Ok(losses)
}

fn exited(targets: HashMap<u32, TargetValue>) -> Vec<Exited> {
    targets
        .into_iter()
        .filter(|(_, target)| target.ended_ns != 0)
        .map(|(tgid, target)| Exited {
            tgid,
            end: TargetEnd::from_code(target.end).unwrap_or(TargetEnd::Exit),
            ended_ns: target.ended_ns,
            traffic: TrafficValue::default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tgid: u32) -> RecordKey {
        RecordKey {
            serial: 1 << 24,
            tgid,
            reserved: 0,
        }
    }

    #[test]
    fn rows_of_a_process_that_ended_are_dropped() {
        let traffic = |started, ended| TrafficValue { started, ended };
        let connection = |serial, tgid| RecordKey {
            serial,
            ..key(tgid)
        };
        let mut maps = Maps {
            requests: vec![
                (key(1), RequestValue::default()),
                (key(2), RequestValue::default()),
            ],
            channels: vec![(key(1), ChannelValue::default())],
            connections: vec![(key(1), ConnectionValue::default())],
            traffic: vec![
                (connection(1, 1), traffic(7, 5)),
                (connection(2, 1), traffic(1, 1)),
                (connection(1, 2), traffic(9, 8)),
            ],
            exited: vec![Exited {
                tgid: 1,
                end: TargetEnd::Exec,
                ended_ns: 5,
                traffic: TrafficValue::default(),
            }],
            ..Maps::default()
        };
        maps.drop_exited();
        assert_eq!(maps.requests, [(key(2), RequestValue::default())]);
        assert!(maps.channels.is_empty() && maps.connections.is_empty());
        maps.count_from(&[
            (connection(1, 1), traffic(3, 2)),
            (connection(1, 2), traffic(3, 2)),
        ]);
        assert_eq!(maps.traffic, [(connection(1, 2), traffic(6, 6))]);
        assert_eq!(maps.exited[0].traffic, traffic(5, 4));
    }

    #[test]
    fn rows_are_those_of_the_process() {
        let row = |tgid, serial| {
            let key = RecordKey {
                serial,
                ..key(tgid)
            };
            (key, RequestValue::default())
        };
        let mut maps = Maps {
            requests: vec![row(2, 9), row(1, 4), row(2, 3), row(3, 1)],
            ..Maps::default()
        };
        maps.sort();
        assert_eq!(maps.rows_of(2).requests, [row(2, 3), row(2, 9)]);
        assert!(maps.rows_of(4).requests.is_empty());
        assert!(maps.rows_of(2).channels.is_empty());
    }

    #[test]
    fn losses_are_counted_by_kind() {
        let mut losses = Losses::default();
        assert!(losses.is_empty());
        losses.0[Loss::RequestDelete.code() as usize] = 3;
        assert_eq!(
            losses.iter().collect::<Vec<_>>(),
            [(Loss::RequestDelete, 3)]
        );
    }

    /// The codes index the kernel's array.
    #[test]
    fn loss_codes_are_dense() {
        for (index, loss) in Loss::ALL.iter().enumerate() {
            assert_eq!(loss.code() as usize, index);
        }
    }
}
