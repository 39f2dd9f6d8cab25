//! Compares the rows of one kind that a registry has with those of the kernel maps: by key, phase and
//! provenance.
//!
//! A program writes to its registry a moment before it passes the probe, and the kernel maps are read before the
//! registry is. So rows differ that began, went on or ended in between, which is no disagreement: the kernel maps
//! are read once more, and what has caught up by then is settled.

use std::cmp::Ordering;

use roam_dump::model::{Channel, Connection, Gap, Request, Source};
use roam_dump::render::Counted;
use roam_trace_common::event::{
    ChannelValue, ConnectionState, ConnectionValue, RecordKey, RequestValue,
};

/// What the registry has of a row.
pub(super) struct Registered {
    serial: u64,
    ids: Ids,
    age_us: u64,
    phase: u32,
    /// Whether its end was not reported to the probes yet.
    is_open: bool,
}

/// What the kernel map has of a row.
pub(super) struct Mapped {
    ids: Ids,
    began_ns: u64,
    phase: u32,
    /// Whether a probe has seen the row.
    is_seen: bool,
}

/// Which of several rows it is that have the same serial, in a process with several registries.
type Ids = (u64, u64);

/// The phase of rows that have none.
const NO_PHASE: u32 = 0;

/// A row of the model that registries and kernel maps have.
pub(super) trait Compared {
    /// What the kernel map has of it.
    type Value;

    /// What such rows are called in a gap.
    const NAME: &'static str;

    fn registered(&self) -> Registered;
    fn mapped(value: &Self::Value) -> Mapped;
    fn set_source(&mut self, source: Source);
}

/// Which rows only one of the sources has, although both should.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// A row of the registry that is as old should be in the kernel map, in microseconds; `None` where the map
    /// is not complete.
    pub(super) mapped_age_us: Option<u64>,
    /// A row of the kernel map that began before should be in the registry's, in nanoseconds of the maps' clock:
    /// there was no room for younger ones.
    pub(super) until_ns: u64,
    /// The bits of a serial that the kernel map knows.
    pub(super) serial_mask: u64,
}

/// What two sources do not have in common.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Serials of rows that the kernel map alone has.
    only_mapped: Vec<u64>,
    /// Indexes of rows that the registry alone has.
    only_registered: Vec<usize>,
    /// Indexes of rows that are further by the registry than by the kernel map.
    behind: Vec<usize>,
    /// How many rows were further by the kernel map, though the registry was read after it.
    ahead: usize,
}

impl Differences {
    /// Compares, and gives the rows that a probe saw as well their source.
    pub(super) fn find<R: Compared>(
        rows: &mut [R],
        values: &[(RecordKey, R::Value)],
        range: Range,
    ) -> Self {
        let mut differences = Self::default();
        let mut is_matched = vec![false; values.len()];
        for (index, row) in rows.iter_mut().enumerate() {
            let mut registered = row.registered();
            registered.serial &= range.serial_mask;
            let found = find::<R>(values, &registered).filter(|(found, _)| !is_matched[*found]);
            let Some((found, mapped)) = found else {
                let is_old = |age_us| registered.age_us >= age_us;
                if registered.is_open && range.mapped_age_us.is_some_and(is_old) {
                    differences.only_registered.push(index);
                }
                continue;
            };
            is_matched[found] = true;
            if mapped.is_seen {
                row.set_source(Source::Both);
            }
            match mapped.phase.cmp(&registered.phase) {
                Ordering::Less => differences.behind.push(index),
                Ordering::Equal => {}
                Ordering::Greater => differences.ahead += 1,
            }
        }
        let unmatched = values
            .iter()
            .zip(is_matched)
            .filter(|(_, matched)| !matched);
        differences.only_mapped = unmatched
            .filter(|((_, value), _)| R::mapped(value).began_ns < range.until_ns)
            .map(|((key, _), _)| key.serial)
            .collect();
        differences
    }

    /// Whether there is nothing that reading the kernel map once more could settle.
    pub(super) fn is_settled(&self) -> bool {
        self.only_mapped.is_empty() && self.only_registered.is_empty() && self.behind.is_empty()
    }

    /// Settles what has caught up in the kernel map by now.
    pub(super) fn settle<R: Compared>(&mut self, rows: &mut [R], values: &[(RecordKey, R::Value)]) {
        self.only_mapped
            .retain(|&serial| position(values, serial).is_some());
        self.only_registered.retain(|&index| {
            let row = &mut rows[index];
            let found = find::<R>(values, &row.registered());
            if found.as_ref().is_some_and(|(_, mapped)| mapped.is_seen) {
                row.set_source(Source::Both);
            }
            found.is_none()
        });
        self.behind.retain(|&index| {
            let registered = rows[index].registered();
            find::<R>(values, &registered)
                .is_some_and(|(_, mapped)| mapped.phase < registered.phase)
        });
    }

    /// The rows that the kernel map alone has, and what the sources disagree on. `values` are those that were
    /// last settled with. Where the registry was not read as a whole, a row that no probe saw is one that could
    /// not be read; otherwise its end went past the probes, and it is left out.
    pub(super) fn finish<R: Compared>(
        self,
        values: &[(RecordKey, R::Value)],
        is_whole: bool,
    ) -> (Vec<&(RecordKey, R::Value)>, impl Iterator<Item = Gap>) {
        let is_seen = |(_, value): &(RecordKey, R::Value)| R::mapped(value).is_seen;
        let mut rows: Vec<_> = self
            .only_mapped
            .iter()
            .filter_map(|&serial| position(values, serial).map(|found| &values[found]))
            .collect();
        let seen = rows.iter().filter(|row| is_seen(row)).count();
        let mut ended = 0;
        if is_whole {
            ended = rows.len() - seen;
            rows.retain(|row| is_seen(row));
        }
        let only_registered = self.only_registered.len();
        let gaps = [
            (seen, " missing in the registry (seen by a probe)"),
            (ended, " left out (no probe saw the end)"),
            (
                only_registered,
                " missing in the kernel map (held by the registry)",
            ),
            (
                self.ahead + self.behind.len(),
                " with different phases in the registry and in the kernel map",
            ),
        ];
        let gaps = gaps.into_iter().filter(|&(count, _)| count > 0);
        let gaps = gaps.map(|(count, what)| Gap::Other {
            text: format!("{}{what}", Counted(count as u64, R::NAME)),
        });
        (rows, gaps)
    }
}

/// Where the value with a serial is.
fn position<V>(values: &[(RecordKey, V)], serial: u64) -> Option<usize> {
    values
        .binary_search_by_key(&serial, |(key, _)| key.serial)
        .ok()
}

/// Where the value of the same row is, and what it has.
fn find<R: Compared>(
    values: &[(RecordKey, R::Value)],
    registered: &Registered,
) -> Option<(usize, Mapped)> {
    let found = position(values, registered.serial)?;
    let mapped = R::mapped(&values[found].1);
    (mapped.ids == registered.ids).then_some((found, mapped))
}

impl Compared for Request {
    type Value = RequestValue;

    const NAME: &'static str = "requests";

    fn registered(&self) -> Registered {
        Registered {
            serial: self.serial,
            ids: (self.request_id, self.method_id),
            age_us: self.age_us,
            phase: self.phase.code(),
            is_open: true,
        }
    }

    fn mapped(value: &RequestValue) -> Mapped {
        Mapped {
            ids: (value.request_id, value.method_id),
            began_ns: value.started_ns,
            phase: value.phase,
            is_seen: value.seen != 0,
        }
    }

    fn set_source(&mut self, source: Source) {
        self.source = source;
    }
}

impl Compared for Channel {
    type Value = ChannelValue;

    const NAME: &'static str = "channels";

    fn registered(&self) -> Registered {
        Registered {
            serial: self.serial,
            ids: (self.channel_id, 0),
            age_us: self.age_us,
            phase: NO_PHASE,
            is_open: true,
        }
    }

    fn mapped(value: &ChannelValue) -> Mapped {
        Mapped {
            ids: (value.channel_id, 0),
            began_ns: value.opened_ns,
            phase: NO_PHASE,
            is_seen: value.seen != 0,
        }
    }

    fn set_source(&mut self, source: Source) {
        self.source = source;
    }
}

impl Compared for Connection {
    type Value = ConnectionValue;

    const NAME: &'static str = "connections";

    fn registered(&self) -> Registered {
        Registered {
            serial: self.serial,
            ids: (self.conn_id, 0),
            age_us: self.age_us,
            phase: NO_PHASE,
            is_open: self.state != ConnectionState::Closed,
        }
    }

    fn mapped(value: &ConnectionValue) -> Mapped {
        Mapped {
            ids: (value.conn_id, 0),
            began_ns: value.opened_ns,
            phase: NO_PHASE,
            is_seen: value.seen != 0,
        }
    }

    fn set_source(&mut self, source: Source) {
        self.source = source;
    }
}
