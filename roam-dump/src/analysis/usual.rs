//! What is usual for the calls of each method: how long those took that were answered.

use foldhash::{HashMap, HashMapExt};
use roam_trace_common::event::{Direction, RequestKind};

use super::index::{RowId, SnapshotIndex};
use super::thresholds::Thresholds;
use crate::model::{MethodStatistics, Request, Snapshot, Source};

/// Answered calls from which on a percentile says something.
const ENOUGH_CALLS: u64 = 20;
/// A call is unusual past this many times the 99th percentile of its method.
const UNUSUAL: u64 = 10;

/// What the age of a request is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Measure {
    /// The time that the user set for the method.
    Set { stuck_us: u64 },
    /// The time alone, since too few calls were answered; `None` if it is not known how many.
    TooFew {
        stuck_us: u64,
        answered: Option<u64>,
    },
    /// The time, and the calls of the method that the process of that index saw answered.
    Latency {
        stuck_us: u64,
        p50_us: u64,
        p99_us: u64,
        answered: u64,
        process: u32,
        is_own: bool,
    },
}

impl Measure {
    /// Whether a request of that age is older than calls of its method are.
    pub(super) fn is_unusual(&self, age_us: u64) -> bool {
        match *self {
            Self::Set { .. } | Self::TooFew { .. } => true,
            Self::Latency { p99_us, .. } => age_us > p99_us.saturating_mul(UNUSUAL),
        }
    }

    /// The same for the request's other end, if there are calls to compare with.
    fn at_other_end(self) -> Option<Self> {
        match self {
            Self::Latency {
                stuck_us,
                p50_us,
                p99_us,
                answered,
                process,
                ..
            } => Some(Self::Latency {
                stuck_us,
                p50_us,
                p99_us,
                answered,
                process,
                is_own: false,
            }),
            Self::Set { .. } | Self::TooFew { .. } => None,
        }
    }

    /// Microseconds below which a request is too young to be judged.
    pub(super) fn stuck_us(&self) -> u64 {
        match *self {
            Self::Set { stuck_us }
            | Self::TooFew { stuck_us, .. }
            | Self::Latency { stuck_us, .. } => stuck_us,
        }
    }
}

/// One of the measures that there are, by its index: a hundred thousand rows have few different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MeasureId(pub(crate) u32);

/// The calls of one method in one direction: index of the process, direction, method id.
type MethodKey = (u32, Direction, u64);

/// The measure of every method that has a request in flight.
pub(super) struct Measures {
    all: Vec<Measure>,
    /// Of each, what it is for the request's other end.
    at_other_end: Vec<Option<MeasureId>>,
    /// `None` for methods that are not judged.
    methods: HashMap<MethodKey, Option<MeasureId>>,
    /// The measure of what is no call.
    other: MeasureId,
}

impl Measures {
    pub(super) fn new(index: &SnapshotIndex<'_>, thresholds: &Thresholds) -> Self {
        let names = names(index.snapshots);
        let mut known = Known::default();
        let mut methods = HashMap::new();
        for (process, snapshot) in (0..).zip(index.snapshots) {
            let statistics: HashMap<_, _> = snapshot
                .methods
                .iter()
                .map(|method| ((method.direction, method.method_id), method))
                .collect();
            // What probes saw is not all that the process has done.
            let counts = snapshot.source != Source::Probes || !snapshot.methods.is_empty();
            for alike in alike(snapshot) {
                let request = &alike[0];
                methods.entry(key(process, request)).or_insert_with(|| {
                    let name = match names.get(&request.method_id) {
                        Some(&name) => name.into(),
                        None => request.method_name(),
                    };
                    let of_method = statistics.get(&(request.direction, request.method_id));
                    (!thresholds.is_ignored(&name)).then(|| {
                        let of_method = of_method.copied();
                        known.id(measure(thresholds, &name, process, of_method, counts))
                    })
                });
            }
        }
        let stuck_us = thresholds.stuck_us;
        let other = known.id(Measure::Set { stuck_us });
        let own: Vec<Measure> = known.all.clone();
        let at_other_end = own
            .into_iter()
            .map(|measure| measure.at_other_end().map(|measure| known.id(measure)))
            .collect();
        Self {
            all: known.all,
            at_other_end,
            methods,
            other,
        }
    }

    pub(super) fn get(&self, id: MeasureId) -> Measure {
        self.all[id.0 as usize]
    }

    /// The same for the request's other end, if there are calls to compare with.
    pub(super) fn at_other_end(&self, id: MeasureId) -> Option<MeasureId> {
        self.at_other_end.get(id.0 as usize).copied().flatten()
    }

    /// All of them, in the order of their ids.
    pub(super) fn into_all(self) -> Vec<Measure> {
        self.all
    }

    /// `None` for a request that is not judged.
    pub(super) fn of(&self, index: &SnapshotIndex<'_>, row: RowId) -> Option<MeasureId> {
        let request = index.request(row);
        match request.kind {
            RequestKind::Call => *self.methods.get(&key(row.process, request))?,
            RequestKind::Connect => Some(self.other),
        }
    }
}

/// Gives equal measures one id.
#[derive(Default)]
struct Known {
    all: Vec<Measure>,
    ids: HashMap<Measure, MeasureId>,
}

impl Known {
    fn id(&mut self, measure: Measure) -> MeasureId {
        *self.ids.entry(measure).or_insert_with(|| {
            self.all.push(measure);
            MeasureId(self.all.len() as u32 - 1)
        })
    }
}

fn key(process: u32, request: &Request) -> MethodKey {
    (process, request.direction, request.method_id)
}

/// Names of methods: a process that calls one may know its id alone.
fn names(snapshots: &[Snapshot]) -> HashMap<u64, &str> {
    let mut names = HashMap::new();
    for alike in snapshots.iter().flat_map(alike) {
        let name = alike.iter().find_map(|request| request.method.as_deref());
        names.extend(name.map(|name| (alike[0].method_id, name)));
    }
    names
}

/// Requests of one method and direction that stand beside each other: there may be a hundred thousand.
fn alike(snapshot: &Snapshot) -> impl Iterator<Item = &[Request]> {
    let key = |request: &Request| (request.direction, request.method_id);
    (snapshot.requests).chunk_by(move |a, b| key(a) == key(b))
}

fn measure(
    thresholds: &Thresholds,
    name: &str,
    process: u32,
    statistics: Option<&MethodStatistics>,
    counts: bool,
) -> Measure {
    if let Some(stuck_us) = thresholds.of_method(name) {
        return Measure::Set { stuck_us };
    }
    let stuck_us = thresholds.stuck_us;
    let answered = statistics.map_or(0, |method| method.outcomes.answered());
    match statistics.and_then(|method| method.latency) {
        Some(latency) if answered >= ENOUGH_CALLS => Measure::Latency {
            stuck_us,
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            answered,
            process,
            is_own: true,
        },
        _ => Measure::TooFew {
            stuck_us,
            answered: counts.then_some(answered),
        },
    }
}
